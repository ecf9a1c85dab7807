use super::*;
use crate::Effect;

async fn ok(_: Cx, _: ()) -> Result<u32, StepError> {
    Ok(1)
}

async fn undone(_: Cx, _: Effect<u32>) -> Result<(), StepError> {
    Ok(())
}

fn error<O>(define: impl for<'g> FnOnce(&'g Graph, Input<'g, u32>) -> Step<'g, O>) -> DefinitionError
where
    O: Serialize + DeserializeOwned + Send + 'static,
{
    saga("test", 1, define).expect_err("the definition has a mistake")
}

#[test]
fn dependencies_are_inferred_from_handles_and_what_has_none_is_parallel() {
    let saga = saga("test", 1, |g, input: Input<'_, u32>| {
        let a = g.check("a", input, |_, _| async { Ok(1_u32) });
        let b = g.check("b", input, |_, _| async { Ok(2_u32) });
        let c = g.check("c", (a, b), |_, (_, _)| async { Ok(3_u32) });
        let all = g.check("all", vec![a, b, c], |_, all: Vec<u32>| async move { Ok(all.len()) });
        g.check("end", (), |_, ()| async { Ok(()) }).after((all, c))
    })
    .unwrap();
    let needs: Vec<&[usize]> = saga.plan().steps().iter().map(|step| &*step.needs).collect();
    assert_eq!(needs, [&[] as &[usize], &[], &[0, 1], &[0, 1, 2], &[3, 2]]);
}

#[test]
fn a_step_before_the_pivot_must_say_how_it_is_undone() {
    assert_eq!(error(|g, _| g.step("a", (), ok)), DefinitionError::MissingUndo { step: "a".into() });
    let fine = saga("test", 1, |g, _: Input<'_, ()>| g.step("a", (), ok).undo(undone));
    assert!(fine.is_ok());
}

#[test]
fn a_step_after_the_pivot_must_be_retriable_and_has_no_undo() {
    let not_retriable = error(|g, _| {
        let _ = g.check("a", (), ok);
        g.pivot();
        g.step("b", (), ok)
    });
    assert_eq!(not_retriable, DefinitionError::NotRetriable { step: "b".into() });
    let useless = error(|g, _| {
        g.pivot();
        g.step("b", (), ok).retriable().undo(undone)
    });
    assert_eq!(useless, DefinitionError::UselessUndo { step: "b".into() });
    let compensates = error(|g, _| {
        g.pivot();
        g.step("b", (), ok).retriable().unknown(Unknown::CompensateMaybe)
    });
    assert_eq!(compensates, DefinitionError::CompensatesAfterPivot { step: "b".into() });
    let across = error(|g, _| {
        let a = g.check("a", (), ok);
        g.pivot();
        let b = g.step("b", (), ok).retriable();
        a.after(b)
    });
    assert_eq!(across, DefinitionError::AcrossPivot { step: "a".into(), needs: "b".into() });
}

#[test]
fn keys_are_unique_and_printable() {
    let twice = error(|g, _| {
        let _ = g.check("a", (), ok);
        g.check("a", (), ok)
    });
    assert_eq!(twice, DefinitionError::DuplicateKey { step: "a".into() });
    assert_eq!(error(|g, _| g.check("a/b", (), ok)), DefinitionError::InvalidKey { key: "a/b".into() });
    assert_eq!(error(|g, _| g.check("", (), ok)), DefinitionError::InvalidKey { key: String::new() });
    let longest = "x".repeat(crate::kernel::MAX_KEY);
    assert!(saga("test", 1, |g, _: Input<'_, ()>| g.check(longest.clone(), (), ok)).is_ok());
    assert!(saga("test", 1, |g, _: Input<'_, ()>| g.check(longest.clone() + "x", (), ok)).is_err());
}

#[test]
fn a_cycle_made_with_after_is_found() {
    let cycle = error(|g, _| {
        let a = g.check("a", (), ok);
        let b = g.check("b", a, |_, _| async { Ok(0_u32) });
        a.after(b)
    });
    assert!(matches!(cycle, DefinitionError::Cycle { .. }), "{cycle}");
}

#[test]
fn a_handle_of_another_graph_is_refused() {
    let mut inner_error = None;
    let outer = saga("outer", 1, |outer, _: Input<'_, ()>| {
        let stranger = outer.check("stranger", (), ok);
        let inner = saga("inner", 1, |g, _: Input<'_, ()>| {
            let _ = g.check("b", stranger, |_, _| async { Ok(0_u32) });
            g.check("a", (), ok)
        });
        inner_error = inner.err();
        stranger
    });
    assert!(outer.is_ok());
    assert_eq!(inner_error, Some(DefinitionError::ForeignHandle { step: "b".into() }));
}

#[test]
fn an_undo_may_read_only_what_its_step_depends_on() {
    let reads = error(|g, _| {
        let a = g.check("a", (), ok);
        let b = g.check("b", (), ok);
        g.step("c", a, |_, _| async { Ok(0_u32) }).undo_with(b, |_, _, _| async { Ok(()) })
    });
    assert_eq!(reads, DefinitionError::UndoReads { step: "c".into(), reads: "b".into() });
    let fine = saga("test", 1, |g, order: Input<'_, u32>| {
        let a = g.check("a", (), ok);
        let b = g.check("b", a, |_, _| async { Ok(0_u32) });
        g.step("c", b, |_, _| async { Ok(0_u32) }).undo_with((order, a), |_, _, (_, _)| async { Ok(()) })
    });
    assert!(fine.is_ok());
}

#[test]
fn the_hash_sees_the_graph_and_not_the_policies_or_the_order_of_declaration() {
    let define = |swap: bool, edge: bool, retries: u32| {
        saga("test", 1, move |g, _: Input<'_, ()>| {
            let [first, second] = if swap { ["b", "a"] } else { ["a", "b"] };
            let x = g.check(first, (), ok);
            let y = g.check(second, (), ok);
            let end = g.check("c", if edge { vec![x, y] } else { vec![] }, |_, _| async { Ok(()) });
            end.retry(retries.try_into().unwrap(), crate::Backoff::default())
        })
        .unwrap()
        .plan()
        .hash()
    };
    assert_eq!(define(false, true, 3), define(true, true, 9));
    assert_ne!(define(false, true, 3), define(false, false, 3));
}

#[test]
fn the_picture_shows_steps_edges_and_the_pivot_between() {
    let saga = saga("test", 1, |g, _: Input<'_, ()>| {
        let a = g.step("a", (), ok).undo(undone);
        let b = g.check("b", a, |_, _| async { Ok(0_u32) });
        g.pivot();
        g.step("c", b, |_, _| async { Ok(0_u32) }).retriable()
    })
    .unwrap();
    let expected = "flowchart TD
    s0[\"a<br/>undo\"]
    s1[\"b<br/>no undo\"]
    s2[\"c<br/>retriable\"]
    pivot{{\"pivot\"}}
    s0 --> s1
    s1 --> pivot
    pivot --> s2
";
    assert_eq!(saga.to_mermaid(), expected);
}
