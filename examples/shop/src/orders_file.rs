//! Reads orders from JSON Lines: a bad line is reported with its number and its reason, and the rest goes on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::domain::Order;
use crate::problem::Problem;

/// Longest line that is read, in bytes; one longer is a bad line.
const MAX_LINE: usize = 64 * 1024;
/// Most orders of one file.
const MAX_ORDERS: usize = 1_000_000;

/// The orders of a file, and what was wrong with the other lines.
#[derive(Debug)]
pub(crate) struct OrdersFile {
    pub(crate) orders: Vec<Order>,
    pub(crate) bad: Vec<BadLine>,
}

/// A line that is no order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) reason: String,
}

/// Reads a whole file. Empty lines are skipped.
pub(crate) fn read(path: &Path) -> Result<OrdersFile, Problem> {
    let file = File::open(path).map_err(|why| Problem::file("read orders from", path, why))?;
    let found = parse(BufReader::new(file)).map_err(|why| Problem::file("read orders from", path, why))?;
    if found.orders.is_empty() {
        let why = match found.bad.first() {
            Some(bad) => format!("none of its lines is an order; line {}: {}", bad.number, bad.reason),
            None => "it is empty".to_owned(),
        };
        return Err(Problem::file("use orders from", path, why));
    }
    Ok(found)
}

fn parse(mut input: impl BufRead) -> std::io::Result<OrdersFile> {
    let mut found = OrdersFile { orders: Vec::new(), bad: Vec::new() };
    let mut seen = HashMap::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        match parse_line(&line) {
            Ok(None) => {}
            Ok(Some(order)) => match seen.insert(order.order_id.clone(), number) {
                Some(earlier) => {
                    let reason = format!("order_id {:?} already stands on line {earlier}", order.order_id);
                    seen.insert(order.order_id, earlier);
                    found.bad.push(BadLine { number, reason });
                }
                None => found.orders.push(order),
            },
            Err(reason) => found.bad.push(BadLine { number, reason }),
        }
        if found.orders.len() == MAX_ORDERS {
            break;
        }
    }
    Ok(found)
}

fn parse_line(line: &[u8]) -> Result<Option<Order>, String> {
    if line.len() > MAX_LINE {
        return Err(format!("longer than {MAX_LINE} bytes"));
    }
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8 text".to_owned())?.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let order: Order = serde_json::from_str(line).map_err(|error| {
        // serde_json counts lines within the text it was given, which is always line 1 here.
        error.to_string().replace(" at line 1 column ", ", at column ")
    })?;
    order.check()?;
    Ok(Some(order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_and_the_rest_goes_on() {
        let text = concat!(
            r#"{"order_id":"a","customer":"c","items":[{"sku":"s","qty":1,"cents":5}]}"#,
            "\n\n",
            "nonsense\n",
            r#"{"order_id":"b","customer":"c","items":[{"sku":"s","qty":0,"cents":5}]}"#,
            "\n",
            r#"{"order_id":"a","customer":"d","items":[{"sku":"s","qty":1,"cents":5}]}"#,
            "\n",
            r#"{"order_id":"c","customer":"c","items":[{"sku":"s","qty":1,"cents":5}],"coupon":1}"#,
            "\n",
            r#"{"order_id":"d","customer":"c","items":[{"sku":"s","qty":1,"cents":5}]}"#,
        );
        let found = parse(text.as_bytes()).unwrap();
        assert_eq!(found.orders.iter().map(|o| o.order_id.as_str()).collect::<Vec<_>>(), ["a", "d"]);
        let bad: Vec<_> = found.bad.iter().map(|bad| (bad.number, bad.reason.as_str())).collect();
        assert_eq!(bad.len(), 4);
        assert_eq!(bad[0], (3, "expected ident, at column 2"));
        assert_eq!(bad[1], (4, "qty of s is 0, it must be 1 to 1000"));
        assert_eq!(bad[2], (5, r#"order_id "a" already stands on line 1"#));
        assert!(bad[3].1.starts_with("unknown field `coupon`"), "{}", bad[3].1);
    }

    #[test]
    fn bytes_that_are_not_text_and_endless_lines_are_bad_lines() {
        let mut input = b"\xff\xfe\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', MAX_LINE + 1));
        let found = parse(&input[..]).unwrap();
        assert_eq!(found.bad.len(), 2);
        assert_eq!(found.bad[0].reason, "not UTF-8 text");
        assert!(found.bad[1].reason.starts_with("longer than"));
    }
}
