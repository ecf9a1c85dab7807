//! What goes while a batch is under way, and what that does.

use super::*;

/// A batch that is answered at once, and whose end panics.
struct Bursts;

impl Future for Bursts {
    type Output = Ends;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Ends> {
        Poll::Ready(Ok(vec![Ok(1), Ok(2)]))
    }
}

impl Drop for Bursts {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a connection that is not well");
    }
}

#[test]
fn a_call_that_panics_when_it_goes_leaves_nobody_waiting() {
    let (batch, _) = threes(|builder| builder.size(2));
    let batched = batch.over(|_: Vec<u32>| Bursts);
    let (mut waits, mut drives) = (Task::new(batched.call(1)), Task::new(batched.call(2)));
    assert!(waits.run().is_pending());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drives.run())).is_err());
    assert!(waits.wakes() > 0, "nobody tells it");
    assert_eq!(waits.run(), Poll::Ready(Err(Failed::Unanswered(Unanswered::Panicked))));
    assert_eq!(batch.snapshot().failed, 1);
}
