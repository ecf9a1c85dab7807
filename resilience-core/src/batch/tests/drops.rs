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

/// An answer that does something when it goes.
struct Uses(Rc<dyn Fn()>);

impl Drop for Uses {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn answers_that_are_nobodys_go_outside_of_the_locks() {
    // One answer too many: nobody gets any. The first of them to go takes a caller of the batch along, which leaves its
    // place, and for that needs the locks.
    let (batch, _) = threes(|builder| builder.size(2));
    let act = Rc::new(RefCell::new(None::<Box<dyn Fn()>>));
    let acts = act.clone();
    let uses: Rc<dyn Fn()> = Rc::new(move || acts.borrow().iter().for_each(|act| act()));
    let batched = batch.over(move |requests: Vec<u32>| {
        let answers = (0..=requests.len()).map(|_| Ok::<_, Failed>(Uses(uses.clone()))).collect();
        std::future::ready(Ok(answers))
    });
    let leaves = Rc::new(RefCell::new(Some(Task::new(batched.call(1)))));
    assert!(leaves.borrow_mut().as_mut().unwrap().run().is_pending());
    let left = leaves.clone();
    *act.borrow_mut() = Some(Box::new(move || drop(left.borrow_mut().take())));
    let Poll::Ready(Err(failed)) = Task::new(batched.call(2)).run() else { panic!("it has an answer, or none yet") };
    assert_eq!(failed, Failed::Unanswered(Unanswered::Miscounted { requests: 2, answers: 3 }));
    assert!(leaves.borrow().is_none());
}
