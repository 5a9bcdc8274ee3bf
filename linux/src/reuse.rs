//! Lists of borrowed packets in the same memory, batch after batch.

/// The memory of `list` for other elements of the same size, above all for the same type with another lifetime: what a
/// batch borrows cannot be kept until the next one, but the list itself can.
///
/// For types of one size and alignment nothing is allocated; that is how the standard library collects, not what it
/// promises, so a test counts it. Otherwise the list is a new one.
#[must_use]
pub fn emptied<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    list.into_iter().filter_map(|_| None).collect()
}
