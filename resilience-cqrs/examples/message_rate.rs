//! How many messages a second go through relay, bus and consumer, in memory and over NATS, beside the bare NATS client.
//!
//! `cargo run --release -p resilience-cqrs --features nats --example message_rate -- [MESSAGES] [ROUNDS]`
//!
//! Payloads of 200 bytes. The relay sends what 512 keys have appended to a log in memory; the consumer does nothing with what it
//! gets, 64 at a time. The floors are the client's own publications, 1,024 of them under way, and its own pull consumer. It
//! starts a server of its own, which does not wait for the disk.
#![allow(clippy::disallowed_methods)] // It measures real time.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer::pull, stream};
use futures::{StreamExt as _, TryStreamExt as _};
use resilience_cqrs::messaging::nats::NatsBus;
use resilience_cqrs::messaging::{Bus, Consumer, MemoryBus, Message, Outgoing, Relay, Subscribe};
use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Query};
use testkit::nats::Nats;
use tower::service_fn;

type Failure = Box<dyn Error + Send + Sync>;

const PAYLOAD: &[u8; 200] = &[b'x'; 200];
const KEYS: usize = 512;
const UNDER_WAY: usize = 1_024;

/// A queue is filled before it is emptied.
const MOST: usize = 16_384;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let messages = args.next().map_or(Ok(10_000), |messages| messages.parse())?;
    if messages > MOST {
        return Err(format!("{messages} messages: a queue in memory holds {MOST}, and then senders wait").into());
    }
    let rounds = args.next().map_or(Ok(3), |rounds| rounds.parse())?;
    println!("{:>40} {:>10}", "messages/s", messages);
    for round in 0..rounds {
        let server = Nats::start()?;
        let nats = NatsBus::builder(server.url()).prefix("rate").open().await?;
        let rows = [
            ("client, published and acknowledged", published(&server, messages).await?),
            ("client, pulled and acknowledged", pulled(&server, messages).await?),
            ("NatsBus, published, no key", bus(&nats, messages).await?),
            ("relay over NatsBus", relay(nats.clone(), messages).await?),
            ("relay over MemoryBus", relay(MemoryBus::new(), messages).await?),
            ("consumer of NatsBus, no key", consumer(nats.clone(), "plain", 0, messages).await?),
            ("consumer of NatsBus, 512 keys, 16 lanes", consumer(nats.clone(), "keyed", KEYS, messages).await?),
            ("consumer of MemoryBus, no key", consumer(MemoryBus::new(), "plain", 0, messages).await?),
            ("consumer of MemoryBus, 512 keys", consumer(MemoryBus::new(), "keyed", KEYS, messages).await?),
        ];
        for (what, rate) in rows {
            println!("{what:>40} {rate:>10.0}");
        }
        println!("{:>40}", format!("({} of {rounds})", round + 1));
        nats.close().await?;
    }
    Ok(())
}

fn rate(messages: usize, since: Instant) -> f64 {
    messages as f64 / since.elapsed().as_secs_f64()
}

/// What the client itself publishes to a stream on disk.
async fn published(server: &Nats, messages: usize) -> Result<f64, Failure> {
    let context = jetstream::new(async_nats::connect(server.url()).await?);
    let config = stream::Config { name: "bare".into(), subjects: vec!["bare".into()], ..stream::Config::default() };
    context.create_stream(config).await?;
    let since = Instant::now();
    futures::stream::iter(0..messages)
        .map(|_| async { context.publish("bare", PAYLOAD.as_slice().into()).await?.await.map_err(Failure::from) })
        .buffer_unordered(UNDER_WAY)
        .try_for_each(|_| ready(Ok(())))
        .await?;
    Ok(rate(messages, since))
}

/// What the client's own pull consumer gets of that stream, each acknowledged, which the server confirms.
async fn pulled(server: &Nats, messages: usize) -> Result<f64, Failure> {
    let context = jetstream::new(async_nats::connect(server.url()).await?);
    let config = pull::Config { durable_name: Some("bare".into()), ..pull::Config::default() };
    let consumer = context.create_consumer_on_stream(config, "bare").await?;
    let since = Instant::now();
    let stream = consumer.stream().max_messages_per_batch(UNDER_WAY).messages().await?;
    stream
        .take(messages)
        .map(|message| async { message?.double_ack().await })
        .buffer_unordered(64)
        .try_for_each(|()| ready(Ok(())))
        .await?;
    Ok(rate(messages, since))
}

async fn bus(nats: &NatsBus, messages: usize) -> Result<f64, Failure> {
    let since = Instant::now();
    futures::stream::iter(0..messages)
        .map(|n| nats.publish(Message::new(format!("bus-{n}"), "rate.bus", PAYLOAD.as_slice())))
        .buffer_unordered(UNDER_WAY)
        .try_for_each(|_| ready(Ok(())))
        .await?;
    Ok(rate(messages, since))
}

async fn relay(bus: impl Bus, messages: usize) -> Result<f64, Failure> {
    let store = MemoryStore::new();
    for n in 0..messages {
        let event = NewEvent::new("Placed", PAYLOAD.as_slice());
        store.append(Append::new().events(format!("order-{}", n % KEYS), Expected::Any, [event])).await?;
    }
    let since = Instant::now();
    let relay = Relay::builder(store.clone(), bus, "relay")
        .events(Query::types(["Placed"]), |event| Ok(Some(Outgoing::new("rate.relay", event.payload.clone()))))
        .start()?;
    relay.at_least(store.head(), PATIENCE).await?;
    let rate = rate(messages, since);
    relay.stop().await?;
    Ok(rate)
}

/// All that waits in a queue; with `keys` of them, each has one message under way at a time.
async fn consumer(bus: impl Bus, queue: &str, keys: usize, messages: usize) -> Result<f64, Failure> {
    futures::stream::iter(0..messages)
        .map(|n| {
            let message = Message::new(format!("{queue}-{n}"), queue, PAYLOAD.as_slice());
            bus.send(if keys > 0 { message.with_key((n % keys).to_string()) } else { message })
        })
        .buffer_unordered(UNDER_WAY)
        .try_for_each(|_| ready(Ok(())))
        .await?;
    let nothing = service_fn(|_: Message| ready(Ok::<_, Infallible>(())));
    let since = Instant::now();
    let running = Consumer::builder(MemoryStore::new(), bus, queue, Subscribe::queue(queue), nothing)
        .concurrency(NonZeroUsize::MIN.saturating_add(63))
        .start()?;
    running.wait_until(|status| status.handled >= messages as u64).await;
    let rate = rate(messages, since);
    running.stop().await?;
    Ok(rate)
}
