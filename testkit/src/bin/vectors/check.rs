//! What was expected against what was observed.

use serde_json::Value;

use crate::case::Step;
use crate::models::Observed;

/// Compares each expected observable with what the model saw.
///
/// Numbers agree within `tolerance` (an entry of `expect`), else within a millionth. `x_gt_ns` asks for `x_ns` above the
/// value, `x_lt_ns` for below.
pub(crate) fn expected(step: &Step, observed: &Observed) -> Result<(), String> {
    let Some(expect) = step.expect() else { return Ok(()) };
    let tolerance = expect.number("tolerance");
    for (key, wanted) in expect.0.iter().filter(|(key, _)| *key != "tolerance") {
        let (name, rule) = comparison(key, observed);
        let seen = observed.get(&name).ok_or_else(|| format!("{name} is not observable"))?;
        if !agrees(wanted, seen, rule, tolerance) {
            return Err(format!("{key}: expected {wanted}, got {seen}"));
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Rule {
    Same,
    Above,
    Below,
    AtLeast,
    AtMost,
}

fn comparison(key: &str, observed: &Observed) -> (String, Rule) {
    // Without a name, the only observable is meant; bounds that are called so include their value.
    let alone = [("gt", Rule::Above), ("lt", Rule::Below), ("min", Rule::AtLeast), ("max", Rule::AtMost)];
    if let (Some((_, rule)), 1, false) =
        (alone.into_iter().find(|(name, _)| *name == key), observed.len(), observed.contains_key(key))
        && let Some(name) = observed.keys().next()
    {
        return (name.clone(), rule);
    }
    for (mark, rule) in [("_gt", Rule::Above), ("_lt", Rule::Below)] {
        if key.ends_with(mark) || key.contains(&format!("{mark}_")) {
            return (key.replacen(mark, "", 1), rule);
        }
    }
    (key.to_owned(), Rule::Same)
}

fn agrees(wanted: &Value, seen: &Value, rule: Rule, tolerance: Option<f64>) -> bool {
    match (wanted, seen) {
        (Value::Number(wanted), Value::Number(seen)) => {
            let (Some(wanted), Some(seen)) = (wanted.as_f64(), seen.as_f64()) else { return false };
            match rule {
                Rule::Same => (wanted - seen).abs() <= tolerance.unwrap_or(1e-6 * wanted.abs().max(1.0)),
                Rule::Above => seen > wanted,
                Rule::Below => seen < wanted,
                Rule::AtLeast => seen >= wanted,
                Rule::AtMost => seen <= wanted,
            }
        }
        (Value::Array(wanted), Value::Array(seen)) => {
            wanted.len() == seen.len()
                && wanted.iter().zip(seen).all(|(wanted, seen)| agrees(wanted, seen, rule, tolerance))
        }
        (Value::Object(wanted), Value::Object(seen)) => {
            wanted.iter().all(|(key, wanted)| seen.get(key).is_some_and(|seen| agrees(wanted, seen, rule, tolerance)))
        }
        (wanted, seen) => wanted == seen,
    }
}
