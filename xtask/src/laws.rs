//! Every layer of core is under tower's laws: a layer that nobody tried is the one that calls the wrong instance.

/// Layers that cannot be under all of them, each with its reason.
const EXEMPT: &[(&str, &str)] = &[
    ("DetachedLayer", "its calls are meant to outlive their callers, on tasks that the laws do not run"),
    ("LowerLayer", "its services cannot fail, so no error passes unchanged"),
];

/// Looks for the layers that no contract test names; the sources come with their paths.
pub(crate) fn check<'a>(sources: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Result<(), String> {
    let tried: String = sources
        .clone()
        .filter(|(path, _)| path.starts_with("resilience-core/tests/contract_"))
        .map(|(_, text)| text)
        .collect();
    let layers = sources
        .filter(|(path, _)| path.starts_with("resilience-core/src/"))
        .flat_map(|(path, text)| text.lines().filter_map(layer).map(move |layer| (path, layer)));
    let untried: Vec<_> = layers
        .filter(|(_, layer)| !tried.contains(layer) && !EXEMPT.iter().any(|(exempt, _)| exempt == layer))
        .map(|(path, layer)| format!("{path}: `{layer}` is under no law: resilience-core/tests/contract_*.rs"))
        .collect();
    if untried.is_empty() { Ok(()) } else { Err(untried.join("\n")) }
}

/// The layer that a line implements, if it does.
fn layer(line: &str) -> Option<&str> {
    let (_, layer) = line.strip_prefix("impl<")?.split_once("Layer<S> for ")?;
    layer.split(|end: char| !end.is_alphanumeric()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_no_contract_names_is_found() {
        let source = "impl<S, C: Clone> Layer<S> for HedgeLayer<C> {\nimpl<S> Layer<S> for LowerLayer<A> {\n";
        let sources = |contract: &'static str| {
            [("resilience-core/src/hedge/layer.rs", source), ("resilience-core/tests/contract_hedge.rs", contract)]
        };
        assert_eq!(check(sources("Subject<HedgeLayer, Failure>").into_iter()), Ok(()));
        let untried = check(sources("Subject<RetryLayer, Failure>").into_iter()).unwrap_err();
        assert!(untried.starts_with("resilience-core/src/hedge/layer.rs: `HedgeLayer`"), "{untried}");
        assert!(!untried.contains("LowerLayer"), "{untried}");
    }
}
