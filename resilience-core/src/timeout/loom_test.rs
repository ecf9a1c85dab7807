//! Every schedule of a task that answers and the caller that waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use super::detached::{DetachedFuture, Letter, Task};
use crate::sync::{Arc, Mutex, model};

/// A wake-up, as a flag.
#[derive(Default)]
struct Told(AtomicBool);

impl Wake for Told {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn loom_an_answer_left_while_its_reader_settles_down_wakes_it() {
    model(|| {
        let letter = Arc::new(Mutex::new(Letter::empty()));
        let (mut answer, told) = (DetachedFuture::of(letter.clone()), std::sync::Arc::new(Told::default()));
        let task = thread::spawn(move || {
            let mut task = Task::new(std::future::ready(7), letter);
            assert!(poll(&mut task, Waker::noop()).is_ready());
        });
        let waker = Waker::from(told.clone());
        let first = poll(&mut answer, &waker);
        task.join().unwrap();
        match first {
            Poll::Ready(answer) => assert_eq!(answer, 7),
            Poll::Pending => {
                assert!(told.0.load(Ordering::SeqCst), "nobody would ask again");
                assert_eq!(poll(&mut answer, &waker), Poll::Ready(7));
            }
        }
    });
}
