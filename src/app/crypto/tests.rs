//! What holds for all that is secret, asked of the compiler.

use super::key::SecretKey;
use super::rng::Rng;
use super::seal::Epoch;
use zeroize::ZeroizeOnDrop;

/// Compiles only if `$secret` has none of the traits: with one, `_` has two answers.
macro_rules! lacks {
    ($secret:ty: $($shown:path),+) => {{
        trait Ambiguous<A> { fn item() {} }
        impl<T: ?Sized> Ambiguous<()> for T {}
        $({
            struct Has;
            impl<T: ?Sized + $shown> Ambiguous<Has> for T {}
            <$secret as Ambiguous<_>>::item();
        })+
    }};
}

#[test]
fn secrets_are_neither_printed_nor_compared_nor_copied() {
    lacks!(SecretKey: std::fmt::Debug, std::fmt::Display, PartialEq, Clone);
    lacks!(Epoch: std::fmt::Debug, std::fmt::Display, PartialEq, Clone);
    lacks!(Rng: std::fmt::Debug, std::fmt::Display, PartialEq, Clone);
}

#[test]
fn keys_are_erased_when_dropped() {
    fn erased<T: ZeroizeOnDrop>() {}
    erased::<SecretKey>();
    erased::<Epoch>();
    erased::<sha2::Sha256>();
}
