//! A client with its listeners on a network in memory, and events for them.

use std::{pin::Pin, sync::Arc};

use futures::FutureExt;
use tidings::{Client, Event, Subscription};
use traffic::Network;

/// A live client.
pub struct Bed {
    pub network: Network,
    pub client: Client,
    driver: Pin<Box<dyn Future<Output = ()>>>,
    listeners: Vec<Subscription>,
}

impl Bed {
    /// A client without listeners, which is not connected.
    pub fn new(listeners: usize) -> Self {
        let network = Network::default();
        let (client, driver) = Client::builder("http://127.0.0.1:1")
            .no_proxy()
            .connect_with(network.clone())
            .expect("the settings are right");
        Self { network, client, driver: Box::pin(driver), listeners: Vec::with_capacity(listeners) }
    }

    /// Subscribes to each topic so many times, and waits until all are acknowledged.
    pub fn subscribe<'a>(&mut self, topics: impl Iterator<Item = &'a str>, listeners: usize) {
        for topic in topics {
            for _ in 0..listeners {
                self.listeners.push(self.client.realtime().subscribe(topic).start().expect("a good topic"));
            }
        }
        let mut ready = 0;
        let listeners = &self.listeners;
        self.network.run(self.driver.as_mut(), || {
            // In this order: few are asked twice.
            ready += listeners[ready..].iter().take_while(|one| one.ready().now_or_never().is_some()).count();
            ready == listeners.len()
        });
        self.listeners.shrink_to_fit();
    }

    /// Events as they stand on the wire: for each stream, so many for each of its topics.
    pub fn render(&self, events: usize) -> Vec<Arc<[u8]>> {
        let render = |topics: Vec<String>| {
            let events = (0..events).flat_map(|number| topics.iter().map(move |topic| (topic, number)));
            events.flat_map(|(topic, number)| traffic::event(topic, number)).collect()
        };
        self.network.topics().into_iter().map(render).collect()
    }

    /// Has the server send, and returns when every listener's queue holds so many events more.
    pub fn deliver(&mut self, rendered: &[Arc<[u8]>], events: usize) {
        self.network.send(rendered);
        let wanted = self.client.stats().delivered + (events * self.listeners.len()) as u64;
        let client = &self.client;
        self.network.run(self.driver.as_mut(), || client.stats().delivered == wanted);
    }

    /// Takes what waits out of every queue, looks at it, and says how many events that were.
    pub fn take(&mut self, look: impl Fn(&Event)) -> usize {
        let mut taken = 0;
        for listener in &mut self.listeners {
            while let Some(Some(event)) = listener.next().now_or_never() {
                assert!(!event.is_notice(), "{event:?}");
                look(&event);
                taken += 1;
            }
        }
        taken
    }

    /// Unsubscribes all listeners, one by one.
    pub fn leave(&mut self) {
        self.listeners.clear();
    }
}
