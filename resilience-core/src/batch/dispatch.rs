//! What is batched, by what, and how it is sent.

use std::hash::Hash;

/// Sends a batch. Every `Fn(Vec<Request>) -> Future` does whose output is a list of answers, in the order of the requests,
/// or one error for all.
pub trait Dispatch<Req> {
    /// What each call is answered.
    type Answer;
    /// Why a call, or the whole batch, failed. Cloned for each call of a batch that failed as a whole.
    type Error: Clone;
    /// The batch on its way.
    type Future: Future<Output = Answers<Self::Answer, Self::Error>>;

    /// Sends it.
    fn dispatch(&self, requests: Vec<Req>) -> Self::Future;
}

/// What a batch is answered: an answer or an error for each call, or an error for all.
pub type Answers<A, E> = Result<Vec<Result<A, E>>, E>;

impl<F, Req, L, A, E> Dispatch<Req> for F
where
    F: Fn(Vec<Req>) -> L,
    L: Future<Output = Answers<A, E>>,
    E: Clone,
{
    type Answer = A;
    type Error = E;
    type Future = L;

    fn dispatch(&self, requests: Vec<Req>) -> L {
        self(requests)
    }
}

/// Says which calls may go together. Every `Fn(&Request) -> Key` does: a shard, a tenant, a table.
pub trait GroupBy<Req> {
    /// Calls of one key share a batch.
    type Key: Hash + Eq + Clone;

    /// The key of a request.
    fn key(&self, request: &Req) -> Self::Key;
}

impl<F: Fn(&Req) -> K, Req, K: Hash + Eq + Clone> GroupBy<Req> for F {
    type Key = K;

    fn key(&self, request: &Req) -> K {
        self(request)
    }
}

/// All calls may go together. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Together;

impl<Req> GroupBy<Req> for Together {
    type Key = ();

    fn key(&self, _: &Req) {}
}

/// Says what a request weighs. Every `Fn(&Request) -> u64` does: its bytes, its rows.
pub trait Weigh<Req> {
    /// The weight; 0 counts as 1.
    fn weight(&self, request: &Req) -> u64;
}

impl<F: Fn(&Req) -> u64, Req> Weigh<Req> for F {
    fn weight(&self, request: &Req) -> u64 {
        self(request)
    }
}

/// Each request weighs 1. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alike;

impl<Req> Weigh<Req> for Alike {
    fn weight(&self, _: &Req) -> u64 {
        1
    }
}

/// Takes the answer to a batch apart into those of its calls, in the order of the requests. Every
/// `Fn(Response) -> Vec<Result<Answer, Error>>` does.
pub trait Split<R, E> {
    /// What each call is answered.
    type Answer;

    /// The answers.
    fn split(&self, response: R) -> Vec<Result<Self::Answer, E>>;
}

impl<F: Fn(R) -> Vec<Result<A, E>>, R, A, E> Split<R, E> for F {
    type Answer = A;

    fn split(&self, response: R) -> Vec<Result<A, E>> {
        self(response)
    }
}

/// The service answers with a list of results. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Each;

impl<A, E> Split<Vec<Result<A, E>>, E> for Each {
    type Answer = A;

    fn split(&self, response: Vec<Result<A, E>>) -> Vec<Result<A, E>> {
        response
    }
}

/// The service answers with a list, and where it answers all went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllWell;

impl<A, E> Split<Vec<A>, E> for AllWell {
    type Answer = A;

    fn split(&self, response: Vec<A>) -> Vec<Result<A, E>> {
        response.into_iter().map(Ok).collect()
    }
}
