//! What a runner does to its checkpoint: take it over, move it with a batch, find it again.

use std::num::NonZeroU32;

use bytes::Bytes;
use futures::future::join;

use super::apply::{Apply, Step};
use super::checkpoint::{self, Advance, Checkpoint, Claim};
use super::event::Event;
use super::park::{self, Parking, storable};
use super::runner::{Place, ProjectionRunner, RunnerError, Stumble};
use crate::log::{Append, Condition, Corrupt, Position, ReadError, RowChange, Space};
use crate::store::{EventStore, Page};

/// Events not meant for the projection after which its checkpoint moves although there is nothing to take in: what a
/// crash makes it look at again, by index.
const SAVE_AFTER: u64 = 1024;

/// The space that says in how many partitions a projection is run, keyed by its name. Nothing is there if in one.
pub(super) const DIVISION: Space = Space::from_static("projection.partitions");

impl<S: EventStore, A: Apply<S>> ProjectionRunner<S, A> {
    /// Takes the projection over: whoever had it cannot commit any more.
    pub(super) async fn claim(&mut self) -> Result<Place, Stumble> {
        self.divide().await?;
        self.apply.prepare(&self.store).await?;
        let key = self.checkpoint();
        let found = Checkpoint::load(&self.store, &key).await?;
        let before = found.unwrap_or(Checkpoint { position: Position::ORIGIN, owner: 0 });
        // Only whether it is the same is ever asked.
        let saved = Checkpoint { owner: before.owner.wrapping_add(1), ..before };
        self.apply.claim(&self.store, Claim { key, found, to: saved }).await?;
        Ok(Place { position: saved.position, saved, parked: self.parked().await?, ahead: None })
    }

    /// Whether the projection is divided as this runner believes; the first one says how.
    async fn divide(&self) -> Result<(), Stumble> {
        let wanted = self.share.map_or(1, |share| share.of().get());
        let found = match division(&self.store, &self.name).await? {
            Some(found) => found.get(),
            None if wanted == 1 => return Ok(()),
            None if Checkpoint::load(&self.store, &checkpoint::key(&self.name, None)).await?.is_some() => 1,
            None => {
                let key = Bytes::copy_from_slice(self.name.as_bytes());
                let undivided = checkpoint::condition(checkpoint::key(&self.name, None), None);
                let absent = Condition::Row { space: DIVISION, key: key.clone(), equals: None };
                let put = RowChange::put(DIVISION, key, wanted.to_be_bytes().to_vec());
                self.store.append(Append::new().require(undivided).require(absent).row(put)).await?;
                wanted
            }
        };
        if found != wanted {
            return Err(Stumble::Ends(RunnerError::Divided { found, wanted }));
        }
        Ok(())
    }

    /// After a commit whose outcome is not known: where the store says that we are.
    pub(super) async fn look_again(&mut self, place: &mut Place) -> Result<(), Stumble> {
        let found = Checkpoint::load(&self.store, &self.checkpoint()).await?;
        let found = found.ok_or_else(|| ReadError::Corrupt(Corrupt::new("a projection's checkpoint is gone")))?;
        if found.owner != place.saved.owner {
            return Err(Stumble::Ends(RunnerError::Fenced));
        }
        *place = Place { position: found.position, saved: found, parked: self.parked().await?, ahead: None };
        Ok(())
    }

    /// Takes in the next batch, and reads the one after it meanwhile.
    pub(super) async fn advance(&mut self, place: &mut Place) -> Result<(), Stumble> {
        let page = match place.ahead.take() {
            Some(page) => page,
            None => self.page(place.position).await?,
        };
        let Page { mut events, mut next, head, .. } = page;
        if let Some(until) = self.until.filter(|until| *until < next) {
            events.retain(|event| event.position <= until);
            next = until;
        }
        if let Some(share) = self.share {
            events.retain(|event| share.owns(&storable(self.apply.key(event))));
        }
        if events.is_empty() {
            place.position = next;
            if next.since(place.saved.position) >= SAVE_AFTER {
                self.save(place).await?;
            }
            self.tell(place);
            return Ok(());
        }
        let taken = events.len();
        let advance = self.advance_to(place, next);
        let saved = advance.to;
        let held = place.parked.keys().cloned().collect();
        let step = Step { events, held, attempts: 0, advance, rows: Vec::new() };
        let commit = self.apply.step(&self.store, step);
        let (parked, ahead) = if next < head && self.until.is_none() {
            let (parked, page) = join(commit, self.page(next)).await;
            (parked?, page.ok()) // The next turn meets the error again.
        } else {
            (commit.await?, None)
        };
        *place = Place { position: next, saved, ahead, parked: std::mem::take(&mut place.parked) };
        for parking in &parked {
            *place.parked.entry(parking.key.clone()).or_insert(0) += 1;
        }
        self.tell(place);
        self.emit(|| Event::Applied { events: taken, position: next });
        self.tell_parked(&parked);
        Ok(())
    }

    async fn page(&self, after: Position) -> Result<Page, ReadError> {
        self.store.read(after, &self.query, self.batch).await
    }

    /// Moves the checkpoint past what was not meant for the projection.
    pub(super) async fn save(&mut self, place: &mut Place) -> Result<(), Stumble> {
        if place.position > place.saved.position {
            let advance = self.advance_to(place, place.position);
            let saved = advance.to;
            let step = Step { events: Vec::new(), held: Default::default(), attempts: 0, advance, rows: Vec::new() };
            self.step(step).await?;
            place.saved = saved;
        }
        Ok(())
    }

    pub(super) async fn step(&self, step: Step) -> Result<Vec<Parking>, Stumble> {
        Ok(self.apply.step(&self.store, step).await?)
    }

    pub(super) fn advance_to(&self, place: &Place, position: Position) -> Advance {
        let to = Checkpoint { position, ..place.saved };
        Advance { key: self.checkpoint(), from: place.saved, to, parked: None }
    }

    fn checkpoint(&self) -> Bytes {
        checkpoint::key(&self.name, self.share)
    }

    async fn parked(&self) -> Result<std::collections::BTreeMap<String, u64>, ReadError> {
        let mut parked = park::load(&self.store, &self.name).await?;
        if let Some(share) = self.share {
            parked.retain(|key, _| share.owns(key));
        }
        Ok(parked)
    }
}

/// In how many partitions a projection is run, if it is divided.
pub(super) async fn division<S: EventStore>(store: &S, name: &str) -> Result<Option<NonZeroU32>, ReadError> {
    let row = store.row(DIVISION.as_str(), name.as_bytes()).await?;
    let number = |row: Bytes| NonZeroU32::new(u32::from_be_bytes(<[u8; 4]>::try_from(&*row).ok()?));
    let corrupt = || ReadError::Corrupt(Corrupt::new("the number of a projection's partitions cannot be read"));
    row.map(|row| number(row).ok_or_else(corrupt)).transpose()
}
