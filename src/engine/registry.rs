//! Who listens to what: topics, and the listeners that share them.

use std::{collections::HashMap, sync::Arc};

use super::conn::{Serial, SessionId};

/// Names a listener. Never reused, so a spent id is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ListenerId(pub(crate) u64);

#[derive(Debug)]
pub(super) struct Registry<L> {
    topics: HashMap<Arc<str>, Topic<L>>,
    listeners: HashMap<ListenerId, Arc<str>>,
    next: u64,
}

/// One topic on the wire and all who listen to it.
#[derive(Debug)]
pub(super) struct Topic<L> {
    pub(super) session: SessionId,
    /// The listener with whom it was first subscribed to: another one when it was dropped and is subscribed to again.
    pub(super) born: ListenerId,
    /// The connection on which the server has acknowledged it.
    pub(super) acked_on: Option<Serial>,
    pub(super) entries: Vec<Entry<L>>,
}

#[derive(Debug)]
pub(super) struct Entry<L> {
    pub(super) id: ListenerId,
    pub(super) outlet: L,
    /// The listener was notified that the server acknowledged its topic.
    pub(super) ready: bool,
    /// Waits for the network however long it takes; otherwise the first failure is returned to the caller.
    pub(super) patient: bool,
}

/// A listener that is gone.
pub(super) struct Removed<L> {
    pub(super) outlet: L,
    /// Its topic and who carries it, if nobody listens to it any more.
    pub(super) abandoned: Option<(Arc<str>, SessionId)>,
}

impl<L> Registry<L> {
    pub(super) fn new() -> Self {
        Self { topics: HashMap::new(), listeners: HashMap::new(), next: 1 }
    }

    /// Adds a listener; `place` says which session carries a topic that is new.
    pub(super) fn add(
        &mut self,
        key: &Arc<str>,
        outlet: L,
        patient: bool,
        place: impl FnOnce(&Arc<str>) -> SessionId,
    ) -> (ListenerId, &mut Topic<L>) {
        let id = ListenerId(self.next);
        self.next += 1;
        // The key is shared by all who name it, and so is its memory.
        let key = self.topics.get_key_value(key).map_or_else(|| key.clone(), |(key, _)| key.clone());
        self.listeners.insert(id, key.clone());
        let topic = self.topics.entry(key).or_insert_with_key(|key| Topic {
            session: place(key),
            born: id,
            acked_on: None,
            entries: Vec::with_capacity(1),
        });
        topic.entries.push(Entry { id, outlet, ready: false, patient });
        (id, topic)
    }

    pub(super) fn remove(&mut self, id: ListenerId) -> Option<Removed<L>> {
        let key = self.listeners.remove(&id)?;
        let topic = self.topics.get_mut(&key)?;
        let at = topic.entries.iter().position(|entry| entry.id == id)?;
        let entry = topic.entries.remove(at);
        let session = topic.session;
        let gone = topic.entries.is_empty();
        if gone {
            self.topics.remove(&key);
        }
        Some(Removed { outlet: entry.outlet, abandoned: gone.then_some((key, session)) })
    }

    pub(super) fn get(&self, key: &str) -> Option<&Topic<L>> {
        self.topics.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Topic<L>> {
        self.topics.get_mut(key)
    }

    /// The topic with its shared key.
    pub(super) fn lookup(&self, key: &str) -> Option<(&Arc<str>, &Topic<L>)> {
        self.topics.get_key_value(key)
    }

    pub(super) fn entry(&self, id: ListenerId) -> Option<&Entry<L>> {
        self.topic_of(id)?.entries.iter().find(|entry| entry.id == id)
    }

    pub(super) fn entry_mut(&mut self, id: ListenerId) -> Option<&mut Entry<L>> {
        let topic = self.topics.get_mut(self.listeners.get(&id)?)?;
        topic.entries.iter_mut().find(|entry| entry.id == id)
    }

    pub(super) fn key_of(&self, id: ListenerId) -> Option<&Arc<str>> {
        self.listeners.get(&id)
    }

    pub(super) fn topic_of(&self, id: ListenerId) -> Option<&Topic<L>> {
        self.topics.get(self.listeners.get(&id)?)
    }

    /// All listeners of the topics that `wanted` picks, in the order in which they came.
    pub(super) fn select(&self, wanted: impl Fn(&str) -> bool) -> Vec<ListenerId> {
        let picked = self.topics.iter().filter(|(key, _)| wanted(key));
        let mut ids: Vec<_> =
            picked.flat_map(|(_, topic)| topic.entries.iter().map(|entry| entry.id)).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn outlets(&self) -> impl Iterator<Item = &L> {
        self.topics.values().flat_map(|topic| &topic.entries).map(|entry| &entry.outlet)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    pub(super) fn topics(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn listeners(&self) -> usize {
        self.listeners.len()
    }
}
