//! A value that can be replaced while requests are being served.

use std::{fmt, ops::Deref, sync::Arc};

use arc_swap::ArcSwap;

/// The value in force. Whoever has begun with one goes on with it to the end.
///
/// Reading takes no lock; a request never sees half of one value and half of the next.
pub struct Current<T>(ArcSwap<T>);

impl<T> Current<T> {
    /// Puts the first value in force.
    pub fn new(value: T) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(value)))
    }

    /// Returns the value in force at this moment.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Borrows the value in force at this moment, without counting who has it: cheaper than
    /// [`Current::get`] where many threads do it for every request. Not to be kept for long.
    pub fn borrow(&self) -> impl Deref<Target = Arc<T>> + Send + use<T>
    where
        T: Send + Sync,
    {
        self.0.load()
    }

    /// Asks the value in force for something at this moment, without keeping it: cheaper than
    /// [`Current::get`] where many threads do it for every request.
    pub fn with<R>(&self, ask: impl FnOnce(&T) -> R) -> R {
        ask(&self.0.load())
    }

    /// Puts another value in force; what is under way keeps the one that it has.
    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T: fmt::Debug> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").field(&self.0.load()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_keeps_the_value_it_began_with() {
        let limit = Current::new(1);
        let begun = limit.get();

        limit.replace(2);

        assert_eq!((*begun, *limit.get()), (1, 2));
    }
}
