//! What a step takes, as a type: handles, tuples of handles, lists of handles.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::{Graph, Step};
use crate::kernel::{Payload, State};

/// What a step may take: the saga's [`Input`], a [`Step`]'s output, a tuple of up to six of these, a `Vec` of one kind,
/// or `()` for nothing.
///
/// Sealed: the values must come from the log, so only handles can be needed.
pub trait Needs<'g>: private::Sealed {
    /// What the step's code gets.
    type Values: Send + 'static;

    /// Notes the edges and returns how the values are read from the log.
    #[doc(hidden)]
    fn wire(self, wiring: &mut Wiring<'g>) -> Reader<Self::Values>;
}

mod private {
    pub trait Sealed {}
}

/// Reads values from what the log amounts to.
pub(super) type Reader<V> = Box<dyn Fn(&State) -> Result<V, String> + Send + Sync>;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Input,
    Step(usize),
}

/// Collects the edges of one step.
#[doc(hidden)]
#[derive(Debug)]
pub struct Wiring<'g> {
    graph: &'g Graph,
    pub(super) sources: Vec<Source>,
    /// Whether a handle of another graph was among them.
    pub(super) foreign: bool,
}

impl<'g> Wiring<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self { graph, sources: Vec::new(), foreign: false }
    }

    pub(super) fn steps(&self) -> Vec<usize> {
        let step = |source: &Source| match source {
            Source::Step(step) => Some(*step),
            Source::Input => None,
        };
        self.sources.iter().filter_map(step).collect()
    }

    fn add(&mut self, graph: &Graph, source: Source) {
        if std::ptr::eq(self.graph, graph) {
            self.sources.push(source);
        } else {
            self.foreign = true;
        }
    }
}

/// The handle of what the saga was started with.
pub struct Input<'g, I> {
    graph: &'g Graph,
    types: PhantomData<fn() -> I>,
}

impl<'g, I> Input<'g, I> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self { graph, types: PhantomData }
    }
}

impl<I> Clone for Input<'_, I> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I> Copy for Input<'_, I> {}

impl<I> std::fmt::Debug for Input<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").finish()
    }
}

/// The value in the log, or why it cannot be had.
fn read<T: DeserializeOwned>(payload: Option<&Payload>, of: &str) -> Result<T, String> {
    let payload = payload.ok_or_else(|| format!("{of} is not in the log"))?;
    payload.decode().map_err(|error| format!("{of} is not a {}: {error}", std::any::type_name::<T>()))
}

impl<I> private::Sealed for Input<'_, I> {}

impl<'g, I: DeserializeOwned + Send + 'static> Needs<'g> for Input<'g, I> {
    type Values = I;

    fn wire(self, wiring: &mut Wiring<'g>) -> Reader<I> {
        wiring.add(self.graph, Source::Input);
        Box::new(|state| read(state.input(), "the input"))
    }
}

impl<T> private::Sealed for Step<'_, T> {}

impl<'g, T: DeserializeOwned + Send + 'static> Needs<'g> for Step<'g, T> {
    type Values = T;

    fn wire(self, wiring: &mut Wiring<'g>) -> Reader<T> {
        let id = self.id;
        wiring.add(self.graph, Source::Step(id));
        Box::new(move |state| {
            let of = || state.plan().steps()[id].key.as_str();
            read(state.step(id).output(), of()).map_err(|error| format!("the output of {error}"))
        })
    }
}

impl<N: private::Sealed> private::Sealed for Vec<N> {}

impl<'g, N: Needs<'g>> Needs<'g> for Vec<N> {
    type Values = Vec<N::Values>;

    fn wire(self, wiring: &mut Wiring<'g>) -> Reader<Vec<N::Values>> {
        let readers: Vec<Reader<N::Values>> = self.into_iter().map(|needs| needs.wire(wiring)).collect();
        Box::new(move |state| readers.iter().map(|read| read(state)).collect())
    }
}

impl private::Sealed for () {}

impl<'g> Needs<'g> for () {
    type Values = ();

    fn wire(self, _: &mut Wiring<'g>) -> Reader<()> {
        Box::new(|_| Ok(()))
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: private::Sealed),+> private::Sealed for ($($name,)+) {}

        impl<'g, $($name: Needs<'g>),+> Needs<'g> for ($($name,)+) {
            type Values = ($($name::Values,)+);

            #[allow(non_snake_case)] // Each name is a type and, in here, the value of that type.
            fn wire(self, wiring: &mut Wiring<'g>) -> Reader<Self::Values> {
                let ($($name,)+) = self;
                $(let $name = $name.wire(wiring);)+
                Box::new(move |state| Ok(($($name(state)?,)+)))
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
