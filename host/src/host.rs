//! The home itself.

use crate::{HeldQueue, SystemEntropy, UserLock, UserTable};
use core::marker::PhantomData;
use kerntun_engine::host::{Crypto, Entropy, Host};

/// A user-space home of the engine with primitives `C`, randomness from `E`, and staged packets that carry a `P`.
///
/// ```
/// use kerntun_crypto::Portable;
/// use kerntun_host::UserHost;
///
/// let host = UserHost::new(Portable);
/// ```
#[derive(Debug, Default)]
pub struct UserHost<C, E = SystemEntropy, P = Vec<u8>> {
    crypto: C,
    entropy: E,
    held: PhantomData<fn(P)>,
}

impl<C> UserHost<C> {
    /// A home with the operating system's randomness whose staged packets carry bytes.
    #[must_use]
    pub fn new(crypto: C) -> Self {
        Self::with_entropy(crypto, SystemEntropy::new())
    }
}

impl<C, E> UserHost<C, E> {
    /// A home with randomness of the caller's choice.
    #[must_use]
    pub const fn with_entropy(crypto: C, entropy: E) -> Self {
        Self { crypto, entropy, held: PhantomData }
    }
}

impl<C, E, P> UserHost<C, E, P> {
    /// The same home for staged packets that carry a `Q`.
    #[must_use]
    pub fn holding<Q>(self) -> UserHost<C, E, Q> {
        UserHost { crypto: self.crypto, entropy: self.entropy, held: PhantomData }
    }
}

impl<C: Crypto, E: Entropy, P: Send> Host for UserHost<C, E, P> {
    type Crypto = C;
    type Entropy = E;
    type Lock<T: Send> = UserLock<T>;
    type Table<T: Send + Sync> = UserTable<T>;
    type Staged = HeldQueue<P>;

    fn crypto(&self) -> &C {
        &self.crypto
    }

    fn entropy(&self) -> &E {
        &self.entropy
    }
}
