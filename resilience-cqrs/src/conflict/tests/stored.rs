use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::history::{History, Subject, steps};
use super::*;

fn survives<S: Subject + Serialize + DeserializeOwned>(state: &S) -> Result<(), TestCaseError> {
    let text = serde_json::to_string(state).unwrap();
    prop_assert_eq!(&serde_json::from_str::<S>(&text).unwrap(), state, "{}", text);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_stored_comes_back_the_same(steps in steps(30)) {
        survives(&History::<LwwRegister<u8>>::of(&steps).healed())?;
        survives(&History::<LwwMap<u8, u8>>::of(&steps).healed())?;
        survives(&History::<PnCounter>::of(&steps).healed())?;
        survives(&History::<MvRegister<u8>>::of(&steps).nodes[0])?;
        survives(&History::<OrSet<u8>>::of(&steps).nodes[0])?;
    }

    /// What is stored may have been written by anybody. Whatever it is, it is read into the one form or refused, and
    /// nothing that is done with it panics.
    #[test]
    fn stored_nonsense_is_no_panic(vector in prop::collection::vec((0..3_u64, any::<u64>()), 0..4),
                                   early in prop::collection::vec((0..3_u64, any::<u64>()), 0..4)) {
        let vector: std::collections::BTreeMap<u64, u64> = vector.into_iter().collect();
        let json = serde_json::json!({ "additions": [["x", early]], "seen": { "vector": vector, "early": early } });
        let mut set: OrSet<String> = serde_json::from_value(json).unwrap();
        let (other, again) = (set.clone(), set.clone());
        set.add(NodeId::new(1), "y".into());
        set.remove("x");
        set.merge(other);
        prop_assert_eq!(set.clone().merged(again), set);
    }
}

/// The stored form is a promise to files already written.
#[test]
fn the_stored_form_does_not_change() {
    let mut set = OrSet::new();
    set.add(node(0), "milk");
    let mut register = MvRegister::new();
    register.set(node(1), "x");
    let mut map = LwwMap::new();
    map.insert("k", at(1, 0), 1);
    map.remove("l", at(2, 1));
    let mut counter = PnCounter::new();
    counter.increment(node(0), 3);
    let stored = serde_json::json!([set, register, map, counter, LwwRegister::<u8>::new()]);
    let expected = serde_json::json!([
        { "additions": [["milk", [[1, 1]]]], "seen": { "vector": { "1": 1 }, "early": [] } },
        { "values": [[[2, 1], "x"]], "seen": { "vector": { "2": 1 }, "early": [] } },
        { "entries": [["k", [{ "time": 65536, "node": 1 }, 1]], ["l", [{ "time": 131072, "node": 2 }, null]]], "floor": 0 },
        { "added": { "1": 3 }, "taken": {} },
        { "written": null },
    ]);
    assert_eq!(stored, expected);
}
