use super::*;

fn listed(filter: &str, delivered: u64, floor: u64, pending: u64) -> serde_json::Value {
    json!({
        "name": filter, "delivered": { "stream_seq": delivered }, "ack_floor": { "stream_seq": floor },
        "num_ack_pending": pending, "config": { "filter_subject": filter },
    })
}

fn hearer(filter: &str, delivered: u64, floor: u64, pending: u64) -> Hearer {
    serde_json::from_value::<Listed>(listed(filter, delivered, floor, pending)).unwrap().into()
}

#[test]
fn a_subject_is_settled_where_the_last_of_those_who_hear_it_is() {
    let hearers = [
        hearer("p.t.n.orders.>", 90, 90, 0),
        // One in hand at 41.
        hearer("p.t.n.orders.placed", 60, 40, 3),
        // It has settled nothing yet, and was made when the stream was at 70: so it has no floor.
        hearer("p.t.n.orders.cancelled", 70, 0, 0),
    ];
    assert_eq!(settled(Way::Publish, "p.t.n.orders.placed", &hearers), Some(40));
    assert_eq!(settled(Way::Publish, "p.t.n.orders.cancelled", &hearers), Some(70));
    assert_eq!(settled(Way::Publish, "p.t.n.orders.shipped", &hearers), Some(90));
    // A floor that is not known with something in hand is none, and one past what was given is not believed.
    assert_eq!(settled(Way::Publish, "a", &[hearer("a", 5, 0, 1)]), Some(0));
    assert_eq!(settled(Way::Publish, "a", &[hearer("a", 5, 9, 1)]), Some(5));
}

#[test]
fn what_nobody_hears_goes_from_topics_and_stays_in_queues() {
    assert_eq!(settled(Way::Publish, "p.t.n.a", &[hearer("p.t.n.b", 1, 1, 0)]), Some(u64::MAX));
    assert_eq!(settled(Way::Send, "p.q.n.a", &[hearer("p.q.n.b", 1, 1, 0)]), None);
    assert_eq!(settled(Way::Publish, "p.t.n.a", &[hearer("", 3, 3, 0)]), Some(3));
}

#[test]
fn a_purge_is_of_the_same_messages_and_of_no_consumers_filter() {
    let subject = "my.shop.t.n.0.0.0.0.0.0.orders.placed";
    assert_eq!(wider(subject), "*.shop.t.n.0.0.0.0.0.0.orders.placed");
    assert!(Filter::from(wider(subject).as_str()).matches(&subject.into()));
}

/// A consumer's place is on the server's disk a tenth of a second after it is reached. Killed before that, a server comes back
/// with one that waits for a message, and that must still be there; a pause later it is not asked for any more.
#[test]
fn what_was_settled_a_moment_ago_is_cleared_by_the_next_look_and_the_last_message_by_none() {
    assert_eq!(clears(7, 20, None, Look::Second), (0, 7));
    assert_eq!(clears(9, 20, Some(7), Look::Second), (7, 9));
    assert_eq!(clears(9, 20, Some(9), Look::Second), (9, 9));
    // A consumer that went back, as by the death of a server, is believed.
    assert_eq!(clears(5, 20, Some(9), Look::Second), (5, 5));
    // What has no room does not wait.
    assert_eq!(clears(9, 20, None, Look::Only), (9, 9));
    // The server counts on by the last message.
    for look in [Look::Only, Look::Second] {
        assert_eq!(clears(u64::MAX, 20, Some(u64::MAX), look), (19, 19));
        assert_eq!(clears(u64::MAX, 0, Some(u64::MAX), look), (0, 0));
    }
}

fn page(total: usize, names: &[&str], more: serde_json::Value) -> Page {
    let consumers: Vec<_> = names.iter().map(|name| listed(name, 1, 1, 0)).collect();
    let mut page = json!({ "total": total, "consumers": consumers });
    page.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(page).unwrap()
}

/// Whoever is missing from the list is not waited for, and what only he has not settled would be cleared.
#[test]
fn a_list_of_consumers_that_is_not_whole_clears_nothing() {
    let add_one = |page| {
        let mut hearers = Vec::new();
        add(&mut hearers, page).map(|is_last| (is_last, hearers.len()))
    };
    let whole = |total, names: &[&str]| page(total, names, json!({}));
    let mut hearers = Vec::new();
    assert_eq!(add(&mut hearers, whole(3, &["a", "b"])), Some(false));
    assert_eq!(add(&mut hearers, whole(3, &["c"])), Some(true));
    assert_eq!(add_one(whole(2, &["a", "b"])), Some((true, 2)));
    assert_eq!(add_one(whole(0, &[])), Some((true, 0)));
    // Fewer than there are, more than there are, one twice, one without its state, a server that did not answer.
    assert_eq!(add_one(whole(3, &[])), None);
    assert_eq!(add_one(whole(1, &["a", "b"])), None);
    assert_eq!(add_one(whole(2, &["a", "a"])), None);
    assert_eq!(add_one(page(2, &[], json!({ "consumers": [listed("a", 1, 1, 0), null] }))), None);
    assert_eq!(add_one(page(2, &["a", "b"], json!({ "missing": ["c"] }))), None);
    assert_eq!(add_one(page(2, &["a", "b"], json!({ "missing": [] }))), Some((true, 2)));
}
