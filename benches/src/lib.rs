//! What the benches and the load tool have in common.

use std::fmt::Write as _;

/// Appends the members of an order: 407 bytes of JSON on average with the braces around them. Orders are
/// alike as documents of one application are: the same members, some of them with the same values.
pub fn order(out: &mut String, n: usize) {
    let _ = write!(
        out,
        "\"type\":\"order\",\"number\":{n},\"price\":{}.25,\"paid\":{},\"customer\":{{\"name\":\"Customer {}\",\
         \"street\":\"{} Harbour Road\",\"city\":\"Reykjav\u{ed}k\",\"tags\":[\"regular\",\"mail\",\"{}\"]}},\
         \"lines\":[{{\"sku\":\"A-{:05}\",\"count\":{},\"text\":\"Blue ceramic mug, dishwasher safe\"}},\
         {{\"sku\":\"B-{:05}\",\"count\":{},\"text\":\"Linen tea towel, striped, 50 x 70 cm\"}}],\
         \"note\":\"Please ring twice and leave the parcel with the neighbour on the left.\"",
        n % 900,
        n.is_multiple_of(2),
        n % 5000,
        n % 300,
        n % 17,
        n % 100_000,
        n % 9,
        n * 7 % 100_000,
        n % 4,
    );
}
