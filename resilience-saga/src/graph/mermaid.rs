//! A graph as a picture.

use std::fmt::Write;

use crate::kernel::{Plan, Report, Undo};

/// The graph as a Mermaid flowchart; with a report, each step carries its status.
pub(crate) fn flowchart(plan: &Plan, report: Option<&Report>) -> String {
    let mut text = String::from("flowchart TD\n");
    let node = |id: usize| format!("s{id}");
    for (id, step) in plan.steps().iter().enumerate() {
        let undo = match &step.undo {
            Some(Undo::Run) => "<br/>undo",
            Some(Undo::None(_)) => "<br/>no undo",
            None => "<br/>retriable",
        };
        let status = report.map(|report| format!("<br/><b>{}</b>", report.steps[id].status)).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {}[\"{}{undo}{status}\"]", node(id), step.key);
    }
    if plan.has_pivot() {
        text.push_str("    pivot{{\"pivot\"}}\n");
    }
    for (id, step) in plan.steps().iter().enumerate() {
        let mut needs = step.needs.clone();
        needs.sort_unstable();
        needs.dedup();
        // The pivot stands between the last steps above it and the first below it.
        let behind_pivot = step.after_pivot && needs.iter().all(|&need| !plan.steps()[need].after_pivot);
        if behind_pivot {
            let _ = writeln!(text, "    pivot --> {}", node(id));
        } else {
            for need in needs {
                let _ = writeln!(text, "    {} --> {}", node(need), node(id));
            }
        }
        let last = plan.dependents(id).iter().all(|&dependent| plan.steps()[dependent].after_pivot);
        if plan.has_pivot() && !step.after_pivot && last {
            let _ = writeln!(text, "    {} --> pivot", node(id));
        }
    }
    text
}
