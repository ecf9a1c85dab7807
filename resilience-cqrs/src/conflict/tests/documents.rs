//! The engines' documents obey the same laws as the states of this module.

use proptest::prelude::*;

use super::history::{Act, History, Step, Subject, steps};
use super::*;

/// What is true of every document, after any history.
fn obeys<D: Subject>(steps: &[Step]) -> Result<D, TestCaseError> {
    let history = History::<D>::of(steps);
    let mut states = history.nodes.to_vec();
    states.extend(history.deltas.last().cloned());
    merge_laws(&states).map_err(|broken| TestCaseError::fail(broken.to_string()))?;
    let healed = history.healed();
    prop_assert_eq!(history.all_deltas(), healed.clone(), "deltas say what the states say");
    Ok(healed)
}

#[cfg(feature = "automerge")]
mod automerge {
    use ::automerge::transaction::Transactable;
    use ::automerge::{AutomergeError, ROOT, ReadDoc};

    use super::*;
    use crate::conflict::automerge::Document;

    impl Subject for Document {
        fn act(&mut self, act: Act) -> Self {
            let change = self.change(node(act.node), |tx| match act.remove {
                true => tx.delete(ROOT, act.key.to_string()),
                false => tx.put(ROOT, act.key.to_string(), u64::from(act.value)),
            });
            change.unwrap()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn documents_converge(steps in steps(16)) {
            let healed = obeys::<Document>(&steps)?;
            prop_assert!(!healed.is_waiting() && healed.refused().is_none());
            prop_assert_eq!(Document::load(&healed.to_bytes()).unwrap(), healed);
        }
    }

    #[test]
    fn a_delta_that_comes_early_waits_and_is_not_lost_when_it_is_stored() {
        let mut here = Document::new();
        let first = here.change(node(0), |tx| tx.put(ROOT, "a", 1)).unwrap();
        let second = here.change(node(0), |tx| tx.put(ROOT, "b", 2)).unwrap();
        let mut there = Document::new();
        there.merge(second);
        assert!(there.is_waiting() && there != Document::new());
        let stored = serde_json::to_string(&there).unwrap();
        let mut there: Document = serde_json::from_str(&stored).unwrap();
        there.merge(first);
        assert_eq!((there.is_waiting(), there.engine().keys(ROOT).count()), (false, 2));
        assert_eq!(there, here);
    }

    #[test]
    fn only_what_is_missing_is_sent() {
        let mut here = Document::new();
        here.change(node(0), |tx| tx.put(ROOT, "long", "x".repeat(10_000))).unwrap();
        let mut there = here.clone();
        here.change(node(0), |tx| tx.put(ROOT, "short", 1)).unwrap();
        there.change(node(1), |tx| tx.put(ROOT, "theirs", 1)).unwrap();
        let missing = here.since(&there.version());
        let size = missing.to_bytes().len();
        assert!(size < 300, "{size} bytes");
        there.merge(missing);
        here.merge(there.since(&here.version()));
        assert_eq!(here, there);
    }

    /// What a cut line leaves of an update must not pass for the whole of it: the rest would never be asked for again.
    #[test]
    fn half_an_update_is_an_error_and_no_half_document() {
        let mut here = Document::new();
        for key in ["a", "b", "c"] {
            here.change(node(0), |tx| tx.put(ROOT, key, 1)).unwrap();
        }
        let bytes: Vec<u8> = here.engine().save_after(&[]);
        assert_eq!(Document::load(&bytes).unwrap(), here);
        let firsts: Vec<usize> = (1..bytes.len()).filter(|end| Document::load(&bytes[..*end]).is_ok()).collect();
        assert_eq!(firsts.len(), 2, "no prefix is a document but those that end with a change: {firsts:?}");
        assert!(Document::load(b"nonsense").unwrap_err().to_string().contains("not an automerge document"));
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let mut document = Document::new();
        let failed = document.change(node(0), |tx| {
            tx.put(ROOT, "a", 1)?;
            Err(AutomergeError::MissingDeps)
        });
        assert!(failed.is_err());
        assert_eq!(document, Document::new());
    }

    #[test]
    fn two_writers_under_one_name_are_refused_and_not_hushed_up() {
        let write = |value| {
            let mut document = Document::new();
            document.change(node(0), |tx| tx.put(ROOT, "a", value)).unwrap();
            document
        };
        let (mut one, other) = (write(1), write(2));
        let before = one.clone();
        one.merge(other);
        assert!(one.refused().is_some());
        assert_eq!(one, before);
    }
}

#[cfg(feature = "yrs")]
mod yrs {
    use ::yrs::updates::decoder::Decode;
    use ::yrs::updates::encoder::Encode;
    use ::yrs::{Doc, GetString, Map, ReadTxn, Text, Transact, Update, WriteTxn};

    use super::*;
    use crate::conflict::yrs::{Document, DocumentError};

    impl Subject for Document {
        fn act(&mut self, act: Act) -> Self {
            let change = self.change(node(act.node), |tx| {
                let map = tx.get_or_insert_map("map");
                match act.remove {
                    true => drop(map.remove(tx, &act.key.to_string())),
                    false => drop(map.insert(tx, act.key.to_string(), u32::from(act.value))),
                }
                let text = tx.get_or_insert_text("text");
                let end = text.len(tx);
                text.insert(tx, end.min(act.key.into()), &act.value.to_string());
            });
            change.unwrap()
        }
    }

    fn text(document: &Document) -> String {
        document.read(|tx| tx.get_text("text").map(|text| text.get_string(tx)).unwrap_or_default())
    }

    fn push(document: &mut Document, by: usize, words: &str) -> Document {
        document.change(node(by), |tx| tx.get_or_insert_text("text").push(tx, words)).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn documents_converge(steps in steps(16)) {
            let healed = obeys::<Document>(&steps)?;
            prop_assert!(!healed.is_waiting() && healed.refused().is_none());
            let stored = serde_json::to_string(&healed).unwrap();
            prop_assert_eq!(serde_json::from_str::<Document>(&stored).unwrap(), healed);
        }
    }

    #[test]
    fn a_delta_that_comes_early_waits_and_is_not_lost_when_it_is_stored() {
        let mut here = Document::new();
        let (first, second) = (push(&mut here, 0, "a"), push(&mut here, 0, "b"));
        let mut there = Document::new();
        there.merge(second);
        assert!(there.is_waiting() && there != Document::new());
        let stored = serde_json::to_string(&there).unwrap();
        let mut there: Document = serde_json::from_str(&stored).unwrap();
        there.merge(first);
        assert_eq!((there.is_waiting(), text(&there)), (false, "ab".into()));
        assert_eq!(there, here);
    }

    #[test]
    fn only_what_is_missing_is_sent() {
        let mut here = Document::new();
        push(&mut here, 0, &"x".repeat(10_000));
        let mut there = here.clone();
        push(&mut here, 0, "y");
        push(&mut there, 1, "z");
        let missing = here.since(&there.version());
        let size = serde_json::to_string(&missing).unwrap().len();
        assert!(size < 200, "{size} bytes");
        there.merge(missing);
        here.merge(there.since(&here.version()));
        assert_eq!((&here, text(&here)), (&there, text(&there)));
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut document = Document::new();
        assert!(matches!(document.apply_update(&[7, 200, 200]), Err(DocumentError::Malformed(_))));
        assert!(matches!(document.update_since(&[200]), Err(DocumentError::Malformed(_))));
        for stored in [r#"{"document":"0","waiting":[]}"#, r#"{"document":"0000","waiting":[["07c8c8",{}]]}"#] {
            assert!(serde_json::from_str::<Document>(stored).is_err(), "{stored}");
        }
    }

    /// A browser asks with its state vector, and answers with updates. One that comes before its past is not taken by
    /// half, for the engine loses changes that way: the browser is asked again.
    #[test]
    fn a_peer_that_speaks_yjs_is_a_replica_and_a_gap_is_told() {
        let mut document = Document::new();
        push(&mut document, 0, "a");
        let browser = Doc::with_client_id(77);
        let update = document.update_since(&browser.transact().state_vector().encode_v1()).unwrap();
        browser.transact_mut().apply_update(Update::decode_v1(&update).unwrap()).unwrap();
        let type_in = |words: &str| {
            let mut tx = browser.transact_mut();
            tx.get_or_insert_text("text").push(&mut tx, words);
            tx.encode_update_v1()
        };
        let (first, second) = (type_in("b"), type_in("c"));
        assert!(matches!(document.apply_update(&second), Err(DocumentError::Gap)));
        assert_eq!(text(&document), "a");
        document.apply_update(&first).unwrap();
        document.apply_update(&second).unwrap();
        assert_eq!(text(&document), "abc");
    }

    /// The engine would mix such a number's upper bits into a mark of its own, or panic.
    #[test]
    fn a_node_that_yjs_has_no_number_for_is_an_error() {
        let mut document = Document::new();
        for number in [0, 1 << 53, u64::MAX] {
            let refused = document.change(NodeId::new(number), |_| ());
            assert!(matches!(refused, Err(DocumentError::Node(node)) if node == NodeId::new(number)));
        }
        assert!(document.change(NodeId::new((1 << 53) - 1), |_| ()).is_ok());
    }

    /// Handles of the engine are one document; a copy that writes must not write into the original.
    #[test]
    fn a_copy_is_another_document() {
        let mut document = Document::new();
        push(&mut document, 0, "a");
        let mut copy = document.clone();
        push(&mut copy, 0, "b");
        assert_eq!((text(&document), text(&copy)), ("a".into(), "ab".into()));
    }
}
