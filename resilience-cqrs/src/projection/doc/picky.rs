// The projection of most examples in `projection`, which include it, so that each of them shows what it is about.

/// Takes in all events but those named `Bad`.
struct Picky;

impl resilience_cqrs::projection::Projection for Picky {
    fn name(&self) -> &str {
        "picky@1"
    }

    fn query(&self) -> resilience_cqrs::Query {
        resilience_cqrs::Query::all()
    }

    async fn apply(
        &self,
        event: &resilience_cqrs::Recorded,
        _: &mut resilience_cqrs::projection::Rows<'_>,
    ) -> Result<(), resilience_cqrs::BoxError> {
        if event.kind == "Bad" { Err("bad".into()) } else { Ok(()) }
    }
}
