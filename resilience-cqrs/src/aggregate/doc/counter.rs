// The aggregate of most examples in `aggregate`, which include it, so that each of them shows what it is about.

#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
enum Event {
    Added { n: i64 },
}

/// A sum that is never below zero. To add zero is to do nothing.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Counter(i64);

impl resilience_cqrs::aggregate::Decider for Counter {
    const STREAM: &'static str = "counter";
    type Command = i64;
    type Event = Event;
    type Error = &'static str;

    fn evolve(&mut self, Event::Added { n }: &Event) {
        self.0 += n;
    }

    fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
        if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    }
}
