use super::*;

fn database() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    create_table(&db).unwrap();
    create_table(&db).unwrap();
    db
}

/// Calls, counting how often the business ran.
fn call(db: &mut Connection, key: &str, epoch: u64, ran: &mut u32) -> Answer {
    once(db, &key.parse().unwrap(), Epoch(epoch), |_, op| {
        *ran += 1;
        Ok::<_, rusqlite::Error>(Entry::Applied(format!("{op} {ran}").into_bytes()))
    })
    .unwrap()
}

const DO: &str = "checkout/1/charge/do";
const UNDO: &str = "checkout/1/charge/undo";

#[test]
fn a_duplicate_gets_the_first_answer_and_changes_nothing() {
    let (mut db, mut ran) = (database(), 0);
    assert_eq!(call(&mut db, DO, 1, &mut ran), Answer::Applied(b"do 1".to_vec()));
    assert_eq!(call(&mut db, DO, 1, &mut ran), Answer::Applied(b"do 1".to_vec()));
    assert_eq!(call(&mut db, UNDO, 1, &mut ran), Answer::Applied(b"undo 2".to_vec()));
    assert_eq!(call(&mut db, UNDO, 1, &mut ran), Answer::Applied(b"undo 2".to_vec()));
    assert_eq!(ran, 2);
}

#[test]
fn an_undo_that_overtakes_its_do_is_null_and_the_late_do_is_refused() {
    // The charge timed out, the saga unwound with `Maybe`, and the refund got here first. Had the charge then been
    // let in, nobody would ever refund it.
    let (mut db, mut ran) = (database(), 0);
    assert_eq!(call(&mut db, UNDO, 1, &mut ran), Answer::NullUndo);
    assert_eq!(call(&mut db, DO, 1, &mut ran), Answer::TooLate);
    assert_eq!(call(&mut db, UNDO, 1, &mut ran), Answer::Applied(Vec::new()));
    assert_eq!(ran, 0);
}

#[test]
fn a_do_that_was_undone_does_not_come_back() {
    let (mut db, mut ran) = (database(), 0);
    let _ = call(&mut db, DO, 1, &mut ran);
    let _ = call(&mut db, UNDO, 1, &mut ran);
    assert_eq!(call(&mut db, DO, 1, &mut ran), Answer::TooLate);
    assert_eq!(ran, 2);
}

#[test]
fn a_refusal_stays_a_refusal_and_needs_no_undo() {
    let (mut db, mut ran) = (database(), 0);
    let refuse = |db: &mut Connection| {
        let refuse = |_: &Transaction<'_>, _| Ok::<_, rusqlite::Error>(Entry::Refused(b"no".to_vec()));
        once(db, &DO.parse().unwrap(), Epoch(1), refuse).unwrap()
    };
    assert_eq!(refuse(&mut db), Answer::Refused(b"no".to_vec()));
    assert_eq!(call(&mut db, DO, 1, &mut ran), Answer::Refused(b"no".to_vec()));
    assert_eq!(call(&mut db, UNDO, 1, &mut ran), Answer::NullUndo);
    assert_eq!(ran, 0);
}

#[test]
fn a_failed_business_leaves_no_trace_and_may_come_again() {
    let (mut db, mut ran) = (database(), 0);
    let failed = once(&mut db, &DO.parse().unwrap(), Epoch(1), |_, _| Err(rusqlite::Error::InvalidQuery));
    assert!(failed.is_err());
    assert_eq!(call(&mut db, DO, 1, &mut ran), Answer::Applied(b"do 1".to_vec()));
}

#[test]
fn a_call_of_a_replaced_owner_is_refused_at_every_step_of_the_saga() {
    let (mut db, mut ran) = (database(), 0);
    let _ = call(&mut db, "checkout/1/reserve/do", 2, &mut ran);
    assert_eq!(call(&mut db, DO, 1, &mut ran), Answer::Stale { current: Epoch(2) });
    assert_eq!(call(&mut db, DO, 2, &mut ran), Answer::Applied(b"do 2".to_vec()));
    // Seen as a duplicate, a later owner is still seen.
    let _ = call(&mut db, DO, 3, &mut ran);
    assert_eq!(call(&mut db, "checkout/1/reserve/undo", 2, &mut ran), Answer::Stale { current: Epoch(3) });
    // Another saga is not concerned.
    let _ = call(&mut db, "checkout/2/charge/do", 1, &mut ran);
    assert_eq!(ran, 3);
}

#[test]
fn pruning_forgets_the_old_up_to_its_limit() {
    let (mut db, mut ran) = (database(), 0);
    for saga in 0..5 {
        let _ = call(&mut db, &format!("checkout/{saga}/charge/do"), 1, &mut ran);
    }
    db.execute("UPDATE saga_barrier SET at = at - 100 WHERE branch < 'checkout/4'", ()).unwrap();
    let age = Duration::from_secs(50);
    let pruned = [prune(&db, age, 3), prune(&db, age, 3), prune(&db, age, 3)].map(Result::unwrap);
    assert_eq!(pruned, [3, 1, 0]);
}
