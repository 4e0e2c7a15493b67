//! The list of rows: a tree whose nodes are shared between lists, so that a list is cheap to clone, and another is made from it by
//! copying the nodes on one path.

use std::{cmp::Ordering, fmt, slice, sync::Arc};

use super::{arrange::Order, rows::Row};

/// Entries of a node, at most. What changes is copied, node by node from the root to a leaf.
const MOST: usize = 16;

/// A node with fewer is joined with the one beside it, if both fit into one.
const FEWEST: usize = MOST / 4;

/// Entries of the nodes of a list that is made at once: it has room for more.
const FILLED: usize = MOST * 3 / 4;

/// The rows of a view, in order: an immutable list that is cheap to clone.
///
/// A clone shows what the view showed when it was taken, for as long as it is kept.
#[derive(Clone, Default)]
pub struct Rows {
    root: Part,
}

/// A node, and how many rows are below it.
#[derive(Clone, Default)]
struct Part {
    len: usize,
    node: Arc<Node>,
}

/// All leaves are equally deep, and none is empty but that of an empty list.
#[derive(Clone)]
enum Node {
    Leaf(Vec<Row>),
    Inner(Vec<Part>),
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.root.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.root.len == 0
    }

    /// The row at a place, from 0.
    pub fn get(&self, mut at: usize) -> Option<&Row> {
        let mut node = &*self.root.node;
        loop {
            match node {
                Node::Leaf(rows) => return rows.get(at),
                Node::Inner(parts) => {
                    let part = parts.iter().find(|part| {
                        let is_here = at < part.len;
                        at -= if is_here { 0 } else { part.len };
                        is_here
                    })?;
                    node = &part.node;
                }
            }
        }
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        Iter { above: vec![slice::from_ref(&self.root).iter()], rows: [].iter() }
    }

    pub(super) fn last(&self) -> Option<&Row> {
        self.root.last()
    }

    /// Of rows that are in order.
    pub(super) fn of(rows: &[Row]) -> Self {
        let leaf = |rows: &[Row]| Part::new(Node::Leaf(rows.to_vec()));
        let mut parts: Vec<Part> = rows.chunks(FILLED).map(leaf).collect();
        while parts.len() > 1 {
            parts = parts.chunks(FILLED).map(|parts| Part::new(Node::Inner(parts.to_vec()))).collect();
        }
        Self { root: parts.pop().unwrap_or_default() }
    }

    /// The first so many.
    pub(super) fn first(&self, count: usize) -> Self {
        Self { root: self.root.first(count) }
    }

    /// Where a row is, or would be put.
    pub(super) fn find(&self, row: &Row, order: &Order) -> Result<usize, usize> {
        let mut before = 0;
        let mut node = &*self.root.node;
        loop {
            match node {
                Node::Leaf(rows) => {
                    let found = rows.binary_search_by(|other| order.compare(other, row));
                    return found.map(|at| before + at).map_err(|at| before + at);
                }
                Node::Inner(parts) => {
                    let is_before = |part: &Part| {
                        part.last().is_some_and(|last| order.compare(last, row) == Ordering::Less)
                    };
                    let at = parts.partition_point(is_before).min(parts.len() - 1);
                    before += parts[..at].iter().map(|part| part.len).sum::<usize>();
                    node = &parts[at].node;
                }
            }
        }
    }

    pub(super) fn insert(&mut self, at: usize, row: Row) {
        if let Some(second) = self.root.insert(at, row) {
            let first = std::mem::take(&mut self.root);
            self.root = Part::new(Node::Inner(vec![first, second]));
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        if at >= self.len() {
            return;
        }
        self.root.remove(at);
        while let Node::Inner(parts) = &*self.root.node
            && let [only] = &parts[..]
        {
            self.root = only.clone();
        }
    }
}

impl Part {
    fn new(node: Node) -> Self {
        let len = match &node {
            Node::Leaf(rows) => rows.len(),
            Node::Inner(parts) => parts.iter().map(|part| part.len).sum(),
        };
        Self { len, node: Arc::new(node) }
    }

    fn last(&self) -> Option<&Row> {
        let mut node = &*self.node;
        loop {
            match node {
                Node::Leaf(rows) => return rows.last(),
                Node::Inner(parts) => node = &parts.last()?.node,
            }
        }
    }

    fn entries(&self) -> usize {
        match &*self.node {
            Node::Leaf(rows) => rows.len(),
            Node::Inner(parts) => parts.len(),
        }
    }

    fn first(&self, count: usize) -> Self {
        if self.len <= count {
            return self.clone();
        }
        if count == 0 {
            return Self::default();
        }
        match &*self.node {
            Node::Leaf(rows) => Self::new(Node::Leaf(rows[..count].to_vec())),
            Node::Inner(parts) => {
                let mut left = count;
                let mut kept = Vec::new();
                for part in parts {
                    if left > 0 {
                        kept.push(part.first(left));
                    }
                    left = left.saturating_sub(part.len);
                }
                Self::new(Node::Inner(kept))
            }
        }
    }

    /// What does not fit any more becomes another part, to be put after this one.
    fn insert(&mut self, at: usize, row: Row) -> Option<Self> {
        let second = match Arc::make_mut(&mut self.node) {
            Node::Leaf(rows) => {
                rows.insert(at, row);
                (rows.len() > MOST).then(|| Self::new(Node::Leaf(rows.split_off(MOST / 2))))
            }
            Node::Inner(parts) => {
                let (place, at) = place(parts, at);
                if let Some(second) = parts[place].insert(at, row) {
                    parts.insert(place + 1, second);
                }
                (parts.len() > MOST).then(|| Self::new(Node::Inner(parts.split_off(MOST / 2))))
            }
        };
        self.len += 1;
        self.len -= second.as_ref().map_or(0, |second| second.len);
        second
    }

    fn remove(&mut self, at: usize) {
        self.len -= 1;
        match Arc::make_mut(&mut self.node) {
            Node::Leaf(rows) => _ = rows.remove(at),
            Node::Inner(parts) => {
                let (place, at) = place(parts, at);
                parts[place].remove(at);
                let left = parts[place].entries();
                if left == 0 {
                    parts.remove(place);
                } else if left < FEWEST && parts.len() > 1 {
                    let first = place.min(parts.len() - 2);
                    if parts[first].entries() + parts[first + 1].entries() <= MOST {
                        let second = parts.remove(first + 1);
                        parts[first].append(&second);
                    }
                }
            }
        }
    }

    fn append(&mut self, other: &Self) {
        self.len += other.len;
        match (Arc::make_mut(&mut self.node), &*other.node) {
            (Node::Leaf(rows), Node::Leaf(more)) => rows.extend_from_slice(more),
            (Node::Inner(parts), Node::Inner(more)) => parts.extend_from_slice(more),
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

/// The part that holds a place, and the place in it. What comes after the last row is put into the last part.
fn place(parts: &[Part], mut at: usize) -> (usize, usize) {
    for (place, part) in parts.iter().enumerate() {
        if at < part.len || place + 1 == parts.len() {
            return (place, at);
        }
        at -= part.len;
    }
    (0, at)
}

struct Iter<'a> {
    /// What is left of each level.
    above: Vec<slice::Iter<'a, Part>>,
    rows: slice::Iter<'a, Row>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Row;

    fn next(&mut self) -> Option<&'a Row> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(row);
            }
            match self.above.last_mut()?.next().map(|part| &*part.node) {
                None => _ = self.above.pop(),
                Some(Node::Leaf(rows)) => self.rows = rows.iter(),
                Some(Node::Inner(parts)) => self.above.push(parts.iter()),
            }
        }
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(n: i64, id: &str) -> Row {
        Row::new(&json!({"id": id, "n": n}), &Order::parse("n").unwrap()).unwrap()
    }

    /// How deep it is, where it is sound.
    fn depth(part: &Part, is_root: bool) -> usize {
        assert!(is_root || part.entries() > 0 && part.entries() <= MOST);
        match &*part.node {
            Node::Leaf(rows) => {
                assert_eq!(rows.len(), part.len);
                1
            }
            Node::Inner(parts) => {
                assert_eq!(parts.iter().map(|part| part.len).sum::<usize>(), part.len);
                let depths: Vec<usize> = parts.iter().map(|part| depth(part, false)).collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    #[test]
    fn a_tree_is_as_a_vector_and_clones_keep_what_they_had() {
        let order = Order::parse("n").unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut rows, mut plain) = (Rows::default(), Vec::<Row>::new());
        let mut kept = Vec::new();
        for step in 0..4_000 {
            let row = row(rng.i64(0..300), &format!("r{:03}", rng.u32(0..1000)));
            let growing = step < 2_000;
            match rows.find(&row, &order) {
                Err(at) if growing || rng.u8(0..4) == 0 => {
                    assert_eq!(plain.binary_search_by(|other| order.compare(other, &row)), Err(at));
                    rows.insert(at, row.clone());
                    plain.insert(at, row);
                }
                Err(_) if plain.is_empty() => {}
                Ok(at) | Err(at) => {
                    let at = at.min(plain.len() - 1);
                    rows.remove(at);
                    plain.remove(at);
                }
            }
            if step % 500 == 0 {
                kept.push((rows.clone(), plain.clone()));
            }
            let at = rng.usize(0..plain.len().max(1));
            assert_eq!((rows.get(at), rows.len()), (plain.get(at), plain.len()));
            assert!(depth(&rows.root, true) <= 5);
        }
        kept.push((rows, plain));
        for (rows, plain) in kept {
            assert!(rows.iter().eq(&plain));
            let count = rng.usize(0..rows.len() + 2);
            let first = rows.first(count);
            depth(&first.root, true);
            assert!(first.iter().eq(plain.iter().take(count)) && Rows::of(&plain) == rows);
            assert!(rows.first(7).iter().eq(plain.iter().take(7)) && rows.last() == plain.last());
        }
    }
}
