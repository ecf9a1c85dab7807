//! What a runner is asked for: parked events of a key, first to last.

use super::apply::{Apply, Step};
use super::checkpoint::Advance;
use super::event::Event;
use super::handle::{ReplayError, Replayed, Request};
use super::park::{self, Parking, Stored};
use super::runner::{Place, ProjectionRunner, Stumble};
use crate::log::{Position, Query};
use crate::store::EventStore;

/// What keeps a parked event where it is.
enum Again {
    Failed(Parking),
    NotThere(Position),
}

impl<S: EventStore, A: Apply<S>> ProjectionRunner<S, A> {
    pub(super) async fn serve(&mut self, request: Request, place: &mut Place) -> Result<(), Stumble> {
        let (key, answer) = match request {
            Request::Replay { key, answer } => (key, answer),
            Request::Meet { at, until } => {
                let _ = at.send(place.position);
                // Nobody says where when the rebuild is given up; then the handle is gone as well, which ends us.
                if let Ok(until) = until.await {
                    self.until = Some(until);
                    place.ahead = None;
                }
                return Ok(());
            }
            Request::Save { answer } => {
                self.save(place).await?;
                let _ = answer.send(());
                return Ok(());
            }
        };
        let mut events = 0;
        let result = self.replay(&key, place, &mut events).await;
        self.tell(place);
        if events > 0 {
            self.emit(|| Event::Replayed { key: key.clone(), events });
        }
        let (answered, stumble) = match result {
            Ok(None) => (Ok(Replayed { events }), Ok(())),
            Ok(Some(Again::Failed(again))) => {
                let (position, error) = (again.position, again.note.error.clone());
                (Err(ReplayError::FailedAgain { position, error, events }), Ok(()))
            }
            Ok(Some(Again::NotThere(position))) => (Err(ReplayError::NotThere { position, events }), Ok(())),
            Err(Stumble::Later(error)) => {
                (Err(ReplayError::Store { error: error.clone() }), Err(Stumble::Later(error)))
            }
            Err(Stumble::Ends(error)) => (Err(ReplayError::Stopped), Err(Stumble::Ends(error))),
        };
        let _ = answer.send(answered);
        stumble
    }

    /// Takes in the parked events of a key; what kept it from the next one, if something did.
    async fn replay(&mut self, key: &str, place: &mut Place, taken: &mut u64) -> Result<Option<Again>, Stumble> {
        while let Some(Stored { position, note, row }) = park::first(&self.store, &self.name, key).await? {
            let before = Position::new(position.get().saturating_sub(1));
            let mut page = self.store.read(before, &Query::all(), 1).await?;
            if page.events.first().is_none_or(|event| event.position != position) {
                return Ok(Some(Again::NotThere(position)));
            }
            page.events.truncate(1);
            let step = Step {
                events: page.events,
                held: Default::default(),
                attempts: note.attempts,
                advance: Advance { parked: Some(row), ..self.advance_to(place, place.saved.position) },
                rows: vec![park::remove(&self.name, key, position)],
            };
            let mut parked = self.step(step).await?;
            if let Some(again) = parked.pop() {
                self.tell_parked(std::slice::from_ref(&again));
                return Ok(Some(Again::Failed(again)));
            }
            *taken += 1;
            if let Some(left) = place.parked.get_mut(key) {
                *left = left.saturating_sub(1);
            }
        }
        place.parked.remove(key);
        Ok(None)
    }
}
