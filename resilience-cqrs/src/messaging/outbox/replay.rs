//! What is asked about a key that is parked.

use super::event::Event;
use super::handle::{ReplayError, Request};
use super::runner::{Next, Place, Relay, Stumble};
use super::work::{Note, task};
use crate::log::{Position, Query};
use crate::messaging::bus::Bus;
use crate::messaging::error::describe;
use crate::store::EventStore;

/// What keeps a parked message where it is.
enum Again {
    Failed(Position, String),
    NotThere(Position),
    Down(String),
}

impl<S: EventStore, B: Bus> Relay<S, B> {
    pub(super) async fn serve(&mut self, request: Request, place: &mut Place) -> Result<Next, Stumble> {
        let Request { key, discard, answer } = request;
        let mut messages = 0;
        let result = self.unpark(&key, discard, place, &mut messages).await;
        self.tell(place);
        if messages > 0 {
            self.sender.emit(|| match discard {
                true => Event::Discarded { key: key.clone(), messages },
                false => Event::Replayed { key: key.clone(), messages },
            });
        }
        let (answered, stumble) = match result {
            Ok(None) => (Ok(messages), Ok(Next::Turn)),
            Ok(Some(Again::Failed(position, error))) => {
                (Err(ReplayError::FailedAgain { position, error, messages }), Ok(Next::Turn))
            }
            Ok(Some(Again::NotThere(position))) => (Err(ReplayError::NotThere { position, messages }), Ok(Next::Turn)),
            Ok(Some(Again::Down(error))) => (Err(ReplayError::Unavailable { error }), Ok(Next::Turn)),
            Err(Stumble::Later(error)) => {
                (Err(ReplayError::Unavailable { error: error.clone() }), Err(Stumble::Later(error)))
            }
            Err(Stumble::Ends(error)) => (Err(ReplayError::Stopped), Err(Stumble::Ends(error))),
        };
        let _ = answer.send(answered);
        stumble
    }

    /// Sends the parked messages of a key, or gives them up; what kept it from the next one, if something did.
    async fn unpark(
        &mut self,
        key: &str,
        discard: bool,
        place: &mut Place,
        done: &mut u64,
    ) -> Result<Option<Again>, Stumble> {
        while let Some((number, row)) = self.parked.first(&self.store, key).await? {
            let (position, note) = (Position::new(number), Note::decode(&row));
            // None of this moves the checkpoint, so an attempt whose answer was lost is kept from a late commit by its row.
            let fenced = self.fenced(place).require(self.parked.is_still(key, number, row));
            let before = Position::new(number.saturating_sub(1));
            let page = self.store.read(before, &Query::all(), 1).await?;
            let task = match page.events.first().filter(|event| event.position == position) {
                Some(event) => task(&self.store, &self.name, &self.outbox, &self.map, event).await?,
                None if discard => None,
                None => return Ok(Some(Again::NotThere(position))),
            };
            // By now the mapping may say that it concerns nobody.
            if let (Some(task), false) = (&task, discard) {
                let failed = match &task.message {
                    Ok(message) => match self.sender.try_once(message).await {
                        Ok(()) => None,
                        Err(error) if error.is_about_the_message() => Some(describe(&error)),
                        Err(error) => return Ok(Some(Again::Down(describe(&error)))),
                    },
                    Err(error) => Some(error.clone()),
                };
                if let Some(error) = failed {
                    let note = Note::failed(note.attempts.saturating_add(1), &error);
                    let again = self.parked.put(key, number, note.encode());
                    self.append(fenced.row(again)).await?;
                    self.tell_parked(task, &note);
                    return Ok(Some(Again::Failed(position, error)));
                }
            }
            let prune = task.and_then(|task| task.row).map(|mark| self.outbox.prune(&mark));
            let taken = fenced.row(self.parked.delete(key, number)).rows(prune);
            self.append(taken).await?;
            *done += 1;
            if let Some(left) = place.parked.get_mut(key) {
                *left = left.saturating_sub(1);
            }
        }
        place.parked.remove(key);
        Ok(None)
    }
}
