//! Clients that read on one node and write through another.

use proptest::prelude::*;

use super::history::NODES;
use super::*;

const CLIENTS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client takes along what a node has seen.
    Read { client: usize, node: usize },
    /// It writes, in knowledge of what it has read last, through whichever node.
    Write { client: usize, node: usize },
    /// A node's whole state arrives at another.
    Exchange { from: usize, to: usize },
    /// A write arrives at a node: late, again, or before others.
    Deliver { write: usize, to: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (client, node) = (|| 0..CLIENTS, || 0..NODES);
    let step = prop_oneof![
        2 => (client(), node()).prop_map(|(client, node)| Step::Read { client, node }),
        3 => (client(), node()).prop_map(|(client, node)| Step::Write { client, node }),
        1 => (node(), node()).prop_map(|(from, to)| Step::Exchange { from, to }),
        2 => (0..20_usize, node()).prop_map(|(write, to)| Step::Deliver { write, to }),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A load balancer sends a client's write to another node than its read, which has not heard yet of what the client has
    /// read. The write overwrites that all the same, once it arrives: in the end just those values are left that nobody
    /// has read who wrote, whichever way and in whatever order the news went.
    #[test]
    fn a_write_overwrites_what_its_author_has_read_wherever_that_was(steps in steps()) {
        let mut nodes: [MvRegister<usize>; NODES] = Default::default();
        let mut read: [Dots; CLIENTS] = Default::default();
        let mut writes: Vec<(Dot, Dots, MvRegister<usize>)> = Vec::new();
        for step in steps {
            match step {
                Step::Read { client, node } => read[client] = nodes[node].seen().clone(),
                Step::Write { client, node: through } => {
                    let before = nodes[through].seen().clone();
                    let delta = nodes[through].set_after(node(through), &read[client], writes.len());
                    let own = (1..).map(|count| Dot::new(node(through), count)).find(|dot| !before.contains(*dot));
                    writes.push((own.unwrap(), read[client].clone(), delta));
                }
                Step::Exchange { from, to } => {
                    let state = nodes[from].clone();
                    nodes[to].merge(state);
                }
                Step::Deliver { write, to } => if let Some((.., delta)) = writes.get(write) {
                    nodes[to].merge(delta.clone());
                },
            }
        }
        let is_left = |dot: Dot| writes.iter().all(|(_, read, _)| !read.contains(dot));
        let left: Vec<usize> = (0..writes.len()).filter(|write| is_left(writes[*write].0)).collect();
        let values = |register: &MvRegister<usize>| {
            let mut values: Vec<_> = register.values().copied().collect();
            values.sort_unstable();
            values
        };
        let healed = nodes.iter().fold(MvRegister::new(), |all, node| all.merged(node.clone()));
        prop_assert_eq!(values(&healed), left.clone());
        let deltas = writes.iter().rev().fold(MvRegister::new(), |all, (.., delta)| all.merged(delta.clone()));
        prop_assert_eq!(values(&deltas), left);
        for node in &nodes {
            prop_assert_eq!(node.clone().merged(healed.clone()), healed.clone());
        }
    }
}
