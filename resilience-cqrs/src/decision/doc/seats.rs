// The model of most examples in `decision`, which include it, so that each of them shows what it is about.

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
enum Seat {
    Taken { by: String },
}

/// How many seats of the course `c1` are taken.
#[derive(Clone, Debug, Default)]
struct Seats(u32);

impl resilience_cqrs::decision::Model for Seats {
    type Event = Seat;

    fn evolve(&mut self, _: &Seat) {
        self.0 += 1;
    }

    fn stream(_: &Seat) -> resilience_cqrs::StreamId {
        "course-c1".into()
    }

    fn tags(_: &Seat) -> Vec<resilience_cqrs::Tag> {
        vec!["course:c1".into()]
    }
}
