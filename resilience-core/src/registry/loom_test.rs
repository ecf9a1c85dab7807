//! Every schedule of two who change one list.

use loom::thread;

use super::{Figure, Handle, Managed, Register, Registry};
use crate::sync::model;
use crate::{ConfigError, Name};

/// A policy of which nothing is to be seen but its name and a number.
#[derive(Clone)]
struct Named(std::sync::Arc<(Name, u64)>);

impl Named {
    fn new(name: &'static str, number: u64) -> Self {
        Self(std::sync::Arc::new((Name::from_static(name), number)))
    }
}

impl Managed for Named {
    fn name(&self) -> &Name {
        &self.0.0
    }

    fn pattern(&self) -> &'static str {
        "named"
    }

    fn figures(&self) -> Vec<(&'static str, Figure)> {
        vec![("number", Figure::Count(self.0.1))]
    }
}

impl Register for Named {
    fn handle(&self) -> Result<Handle, ConfigError> {
        let weak = std::sync::Arc::downgrade(&self.0);
        Ok(Handle::new(move || weak.upgrade().map(Named)))
    }
}

fn names(registry: &Registry) -> Vec<String> {
    registry.policies().iter().map(|policy| policy.name().to_string()).collect()
}

#[test]
fn loom_two_of_one_name_added_at_once_leave_one() {
    // Left twice, an operator who isolates it isolates one, and the figures of both are on the page.
    model(|| {
        let (registry, [first, second]) = (Registry::new(), [1, 2].map(|number| Named::new("mail", number)));
        let (other, theirs) = (registry.clone(), second.clone());
        let adds = thread::spawn(move || other.add(&theirs).unwrap());
        registry.add(&first).unwrap();
        adds.join().unwrap();
        assert_eq!(names(&registry), ["mail"]);
    });
}

#[test]
fn loom_one_replaced_while_its_neighbour_is_removed_is_on_the_list_once() {
    model(|| {
        let (registry, gone) = (Registry::new(), Named::new("stock", 1));
        let [old, new] = [2, 3].map(|number| Named::new("mail", number));
        registry.add(&gone).unwrap();
        registry.add(&old).unwrap();
        let (other, theirs) = (registry.clone(), new.clone());
        let adds = thread::spawn(move || other.add(&theirs).unwrap());
        registry.remove("stock");
        adds.join().unwrap();
        let seen: Vec<_> = registry.policies().iter().map(|policy| policy.figures()).collect();
        assert_eq!(seen, [new.figures()]);
    });
}
