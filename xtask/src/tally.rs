//! Counts tests from what the runners print, so that the last line of a run can say how many there were.

/// Tests that passed and tests that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Of those that passed, how many failed at first and passed when they were tried again.
    pub(crate) again: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.again += other.again;
    }

    /// What one line of a runner adds: libtest's `test result:` and nextest's `Summary` count, nothing else does. What a test
    /// printed that failed is shown indented, by nextest, and is counted by it.
    pub(crate) fn of_line(line: &str) -> Self {
        let line = without_colours(line);
        let counts = if let Some(counts) = line.strip_prefix("test result:") {
            counts
        } else if let Some((_, counts)) =
            line.trim_start().strip_prefix("Summary [").and_then(|rest| rest.split_once("run:"))
        {
            counts
        } else {
            return Self::default();
        };
        Self {
            passed: number_before(counts, " passed"),
            // Nextest tells apart how a test failed; a run that is good has none of these.
            failed: [" failed", " exec failed", " timed out"].iter().map(|how| number_before(counts, how)).sum(),
            again: number_before(counts, " flaky"),
        }
    }
}

fn number_before(text: &str, what: &str) -> u64 {
    let Some(end) = text.find(what) else { return 0 };
    let digits = text[..end].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// The line without terminal colours (`ESC [ … m`).
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..start]);
        rest = rest[start..].find('m').map_or("", |end| &rest[start + end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed, again: 0 }
    }

    #[test]
    fn both_runners_are_understood_with_and_without_colours() {
        let table = [
            ("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s", 12, 0),
            ("test result: \u{1b}[31mFAILED\u{1b}[m. 5 passed; 2 failed; 0 ignored; 0 measured", 5, 2),
            ("     Summary [   0.034s] 120 tests run: 120 passed (1 slow), 4 skipped", 120, 0),
            ("     Summary [   9.1s] 7 tests run: 4 passed, 1 failed, 2 timed out, 0 skipped", 4, 3),
            (
                "\u{1b}[32m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m3\u{1b}[0m tests run: \u{1b}[1m3\u{1b}[0m passed",
                3,
                0,
            ),
            ("     Summary [   0.1s] 3/9 tests run: 2 passed, 1 exec failed, 0 skipped", 2, 1),
            ("test tally::tests::of_9_passed ... ok", 0, 0),
            ("    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 428 filtered out", 0, 0),
            ("", 0, 0),
        ];
        for (line, passed, failed) in table {
            assert_eq!(Tally::of_line(line), tally(passed, failed), "{line:?}");
        }
    }

    #[test]
    fn a_test_that_passed_when_it_was_tried_again_is_told_of() {
        let line = "     Summary [ 640.3s] 3259 tests run: 3259 passed (3 slow, 2 flaky), 0 skipped";
        assert_eq!(Tally::of_line(line), Tally { passed: 3259, failed: 0, again: 2 });
    }
}
