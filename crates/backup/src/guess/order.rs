//! The orders that blocks may really have had.

use keyhaven_fve::keys::BLOCKS;

use super::slips::Cost;

/// For each of the eight places, which place's block belongs there.
pub(super) type Order = [usize; BLOCKS];

/// The order in which the blocks were written.
pub(super) const AS_WRITTEN: Order = [0, 1, 2, 3, 4, 5, 6, 7];

/// Two blocks exchanged, all blocks rotated, or two columns read as rows.
const REORDERED: Cost = 2;

/// One block put somewhere else.
const MOVED: Cost = 3;

/// Returns the orders to be tried after that in which the blocks were written, each once, with what they cost.
pub(super) fn all() -> Vec<(Cost, Order)> {
    let mut orders: Vec<(Cost, Order)> = vec![(0, AS_WRITTEN)];
    let mut offer = |cost: Cost, order: Order| {
        if orders.iter().all(|(_, known)| *known != order) {
            orders.push((cost, order));
        }
    };
    // Neighbours are exchanged sooner than blocks far apart.
    for distance in 1..BLOCKS {
        for first in 0..BLOCKS - distance {
            let mut order = AS_WRITTEN;
            order.swap(first, first + distance);
            offer(REORDERED, order);
        }
    }
    for by in 1..BLOCKS {
        let mut order = AS_WRITTEN;
        order.rotate_left(by);
        offer(REORDERED, order);
    }
    let columns = |rows: usize| AS_WRITTEN.map(|place| place % rows * (BLOCKS / rows) + place / rows);
    for order in [columns(2), columns(4), AS_WRITTEN.map(|place| BLOCKS - 1 - place)] {
        offer(REORDERED, order);
    }
    for from in 0..BLOCKS {
        for to in 0..BLOCKS {
            let mut order = AS_WRITTEN;
            match from < to {
                true => order
                    .get_mut(from..=to)
                    .into_iter()
                    .for_each(|part| part.rotate_left(1)),
                false => order
                    .get_mut(to..=from)
                    .into_iter()
                    .for_each(|part| part.rotate_right(1)),
            }
            offer(MOVED, order);
        }
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_is_there_once_and_is_one() {
        let orders = all();
        assert_eq!(orders.first(), Some(&(0, AS_WRITTEN)));
        assert!(orders.is_sorted_by_key(|(cost, _)| *cost));
        for (i, (_, order)) in orders.iter().enumerate() {
            let mut sorted = *order;
            sorted.sort_unstable();
            assert_eq!(sorted, AS_WRITTEN);
            assert!(orders.iter().skip(i + 1).all(|(_, other)| other != order));
        }
        // 28 pairs, 7 rotations, 3 readings of columns, 42 moves that are none of these (neighbours are pairs, and the
        // two longest moves rotations).
        assert_eq!(orders.len(), 1 + 28 + 7 + 3 + 40);
    }
}
