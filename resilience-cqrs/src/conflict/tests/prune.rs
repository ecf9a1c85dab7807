use proptest::prelude::*;

use super::history::NODES;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write {
        node: usize,
        key: u8,
        value: Option<u8>,
    },
    /// A node reads on in another's log.
    Read {
        from: usize,
        to: usize,
        most: usize,
    },
    /// An old write arrives again.
    Repeat {
        from: usize,
        write: usize,
        to: usize,
    },
    Exchange {
        from: usize,
        to: usize,
    },
    Prune {
        node: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nodes = || 0..NODES;
    let step = prop_oneof![
        4 => (nodes(), 0..3_u8, prop::option::of(0..4_u8)).prop_map(|(node, key, value)| Step::Write { node, key, value }),
        4 => (nodes(), nodes(), 1..4_usize).prop_map(|(from, to, most)| Step::Read { from, to, most }),
        1 => (nodes(), 0..20_usize, nodes()).prop_map(|(from, write, to)| Step::Repeat { from, write, to }),
        1 => (nodes(), nodes()).prop_map(|(from, to)| Step::Exchange { from, to }),
        2 => nodes().prop_map(|node| Step::Prune { node }),
    ];
    prop::collection::vec(step, 0..80)
}

type Map = LwwMap<u8, u8>;

/// A node, its log, how far it has read those of others, and a twin of its map that never forgets.
struct Node {
    map: Map,
    twin: Map,
    log: Vec<(HybridTime, Map)>,
    read: [usize; NODES],
    arrived: Stability,
}

impl Node {
    fn take(&mut self, delta: &Map) {
        self.map.merge(delta.clone());
        self.twin.merge(delta.clone());
    }
}

fn contents(map: &Map) -> Vec<(u8, u8)> {
    map.iter().map(|(key, value)| (*key, *value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A node forgets removals up to what is stable, at any time and by itself, while others have not, and while old
    /// writes come again. Nobody can tell: each map has what its twin has that forgets nothing.
    #[test]
    fn a_map_that_forgets_what_is_stable_shows_what_one_shows_that_forgets_nothing(steps in steps()) {
        let members = || (0..NODES).map(node);
        let mut nodes: Vec<Node> = members()
            .map(|_| Node {
                map: Map::new(),
                twin: Map::new(),
                log: Vec::new(),
                read: [0; NODES],
                arrived: Stability::new(members()),
            })
            .collect();
        for (millis, step) in (1..).zip(steps) {
            match step {
                Step::Write { node: writer, key, value } => {
                    let stamp = at(millis, writer);
                    let delta = match value {
                        Some(value) => Map::new().insert(key, stamp, value),
                        None => Map::new().remove(key, stamp),
                    };
                    nodes[writer].take(&delta);
                    nodes[writer].arrived.hear(node(writer), stamp.time);
                    nodes[writer].log.push((stamp.time, delta));
                }
                Step::Read { from, to, most } => {
                    let start = nodes[to].read[from];
                    let news: Vec<_> = nodes[from].log.iter().skip(start).take(most).cloned().collect();
                    for (time, delta) in &news {
                        nodes[to].take(delta);
                        nodes[to].arrived.hear(node(from), *time);
                    }
                    nodes[to].read[from] += news.len();
                    if nodes[to].read[from] == nodes[from].log.len() {
                        // Nothing was left to read: it has written nothing up to now that has not arrived.
                        nodes[to].arrived.hear(node(from), HybridTime::new(millis, 0));
                    }
                }
                Step::Repeat { from, write, to } => {
                    if write < nodes[to].read[from] {
                        let (_, delta) = nodes[from].log[write].clone();
                        nodes[to].take(&delta);
                    }
                }
                Step::Exchange { from, to } => {
                    let (map, twin) = (nodes[from].map.clone(), nodes[from].twin.clone());
                    nodes[to].map.merge(map);
                    nodes[to].twin.merge(twin);
                }
                Step::Prune { node } => {
                    let stable = nodes[node].arrived.time();
                    nodes[node].map.prune(stable);
                    prop_assert_eq!(nodes[node].map.floor(), stable.max(nodes[node].map.floor()));
                }
            }
            for node in &nodes {
                prop_assert_eq!(contents(&node.map), contents(&node.twin));
                prop_assert!(node.map.tombstones() <= node.twin.tombstones());
            }
        }
        let healed = nodes.iter().fold(Map::new(), |map, node| map.merged(node.map.clone()));
        let twin = nodes.iter().fold(Map::new(), |map, node| map.merged(node.twin.clone()));
        prop_assert_eq!(contents(&healed), contents(&twin));
        merge_laws(&nodes.into_iter().map(|node| node.map).collect::<Vec<_>>()).map_err(|broken| TestCaseError::fail(broken.to_string()))?;
    }
}

#[test]
fn a_map_that_is_pruned_has_no_tombstones_and_takes_no_old_write_for_new() {
    let mut map = LwwMap::new();
    let writes: Vec<_> = (1..1_000).map(|n| map.insert(n, at(n, 0), n)).collect();
    for n in 1..1_000 {
        map.remove(n, at(1_000 + n, 0));
    }
    assert_eq!((map.len(), map.tombstones()), (0, 999));
    assert_eq!(map.prune(HybridTime::new(5_000, 0)), 999);
    for write in writes {
        map.merge(write);
    }
    assert!(map.is_empty() && map.tombstones() == 0);
    assert_eq!(serde_json::to_string(&map).unwrap().len(), r#"{"entries":[],"floor":327680000}"#.len());
}

#[test]
fn a_silent_member_holds_the_stable_time_back_until_it_leaves() {
    let mut arrived = Stability::new([node(0), node(1)]);
    arrived.hear(node(0), HybridTime::new(9, 0));
    arrived.hear(node(7), HybridTime::new(1, 0));
    assert_eq!(arrived.time(), HybridTime::ZERO);
    assert!(arrived.leave(node(1)) && !arrived.leave(node(1)));
    assert_eq!(arrived.time(), HybridTime::new(9, 0));
    arrived.join(node(2));
    assert_eq!(arrived.time(), HybridTime::ZERO);
    assert_eq!(Stability::new([]).time(), HybridTime::ZERO, "of nobody nothing is known");
}

/// What a clock has to observe is to be had from a delta, whatever is in it: of a removal nobody here knows the key. Else
/// what is written next looks older than the removal it came after, and is lost without a word.
#[test]
fn a_write_after_a_removal_that_was_observed_is_later() {
    let now = resilience_core::time::WallTime::from_unix_millis(1_000);
    let mut here = Map::new();
    let mut clock = HybridClock::new(node(0), std::time::Duration::from_secs(60));
    let removal = Map::new().remove(7, Stamp::new(HybridTime::new(9_000, 0), node(1)));
    clock.observe(removal.latest(), now).unwrap();
    here.merge(removal);
    here.insert(7, clock.tick(now).unwrap(), 1);
    assert_eq!(here.get(&7), Some(&1));
}

/// A node joins whose clock is behind what the others have pruned up to, and is given their state, in which nothing is left
/// of it but the floor. Its first write is later than that, or all take it for removed.
#[test]
fn a_node_that_joins_writes_after_what_was_pruned_before_it_came() {
    let now = resilience_core::time::WallTime::from_unix_millis(1_000);
    let mut here = Map::new();
    here.remove(7, Stamp::new(HybridTime::new(2_000, 0), node(0)));
    here.prune(HybridTime::new(2_000, 0));
    let mut joined = here.clone();
    let mut clock = HybridClock::new(node(1), std::time::Duration::from_secs(60));
    clock.observe(joined.latest(), now).unwrap();
    here.merge(joined.insert(7, clock.tick(now).unwrap(), 1));
    assert_eq!((here.get(&7), joined.get(&7)), (Some(&1), Some(&1)));
}
