//! The queue, for languages and threads

use std::{ffi::c_void, mem::MaybeUninit};

use crate::{
    batch::Batch,
    border::{ErrorOut, Ids, Room, RoomFor, answer, given, limit, put},
    event::{Action, Event},
    failure::{Error, Status},
    handle::Client,
};

/// One event in the buffer of tidings_client_next_packed(). Offsets are in bytes from the beginning of the buffer; a text
/// that is not there has offset 0 and length 0. A NUL that is not counted follows each text, save the record.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PackedEvent {
    /// tidings_event_subscription()
    pub subscription: u64,
    /// tidings_event_call()
    pub call: u64,
    /// tidings_event_user_data()
    pub user_data: *mut c_void,
    /// Where it is in the batch: for what is not here, see tidings_batch_event().
    pub index: u32,
    /// tidings_event_action()
    pub action: Action,
    /// 1: the client generated it, see tidings_event_is_notice(). Other bits may be added.
    pub flags: u32,
    /// tidings_event_topic()
    pub topic: u32,
    /// Its length.
    pub topic_len: u32,
    /// tidings_event_record_id()
    pub record_id: u32,
    /// Its length.
    pub record_id_len: u32,
    /// tidings_event_record(), mostly a part of the data
    pub record: u32,
    /// Its length.
    pub record_len: u32,
    /// tidings_event_data()
    pub data: u32,
    /// Its length.
    pub data_len: u32,
    /// 0
    pub reserved: u32,
}

const HEAD: usize = size_of::<PackedEvent>();
const ALIGNMENT: usize = align_of::<PackedEvent>();

/// Takes events as tidings_client_next() does, and copies them into your buffer in the same call: `*count` heads of type
/// tidings_packed_event, then their text. If not all fit, the rest stays in the batch, and the next call with it copies
/// those instead of taking more; so nothing is lost. `*wanted` is the size that would have held all: if that is more
/// than `size`, call again, with a larger buffer if `*count` is 0. One crossing for many events is what a language with
/// costly calls wants.
///
/// Threads: as tidings_client_next(). The buffer is yours, of `size` bytes, and aligned as malloc() does; it is valid
/// without the batch, save `user_data`, which lasts as the events of the batch do. `count` and `wanted` may be NULL. Returns
/// TIDINGS_ERR_INVALID_ARGUMENT for a buffer that is not aligned, and the errors of tidings_client_next().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_next_packed(
    client: Option<&Client>,
    batch: Option<&mut Batch>,
    most: usize,
    timeout_ms: i64,
    buffer: Room<'_>,
    size: usize,
    count: Option<&mut MaybeUninit<usize>>,
    wanted: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
) -> Status {
    let (mut packed, mut needed) = (0, 0);
    let status = answer(error, || {
        let batch = given(batch, "batch")?;
        let client = given(client, "client")?.get();
        let mut buffer = buffer.with_len(size, ALIGNMENT, "buffer")?;
        if batch.packed == batch.events.len() {
            batch.take(|items| client.next(items, most, limit(timeout_ms)))?;
            batch.packed = 0;
        }
        (packed, needed) = pack(&batch.events[batch.packed..], batch.packed, &mut buffer, size)?;
        batch.packed += packed;
        Ok(())
    });
    put(count, packed);
    put(wanted, needed);
    status
}

/// The texts of an event, and where the record lies in the data if it is a part of it.
struct Texts<'a> {
    topic: Option<&'a [u8]>,
    record_id: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    record: Option<std::borrow::Cow<'a, str>>,
    within: Option<usize>,
}

impl<'a> Texts<'a> {
    fn of(event: &'a Event) -> Self {
        let data = event.data();
        let record = event.record_text();
        let within = match (&record, data) {
            (Some(std::borrow::Cow::Borrowed(record)), Some(data)) => {
                let at = (record.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
                (at <= data.len() && record.len() <= data.len() - at).then_some(at)
            }
            _ => None,
        };
        Self { topic: event.topic_text(), record_id: event.id_text(), data, record, within }
    }

    /// What has a place of its own.
    fn own(&self) -> [Option<&[u8]>; 4] {
        let record = self.record.as_ref().filter(|_| self.within.is_none());
        [self.topic, self.record_id, self.data, record.map(|record| record.as_bytes())]
    }

    fn room(&self) -> usize {
        HEAD + self.own().iter().flatten().map(|text| text.len() + 1).sum::<usize>()
    }
}

fn pack(
    events: &[Event],
    first: usize,
    buffer: &mut RoomFor<'_>,
    size: usize,
) -> Result<(usize, usize), Error> {
    let texts: Vec<Texts<'_>> = events.iter().map(Texts::of).collect();
    // Offsets have 32 bits.
    let size = size.min(u32::MAX as usize);
    let (mut count, mut needed) = (0, 0);
    for text in &texts {
        needed += text.room();
        count += usize::from(needed <= size);
    }
    let mut at = count * HEAD;
    for (index, (event, texts)) in events.iter().zip(&texts).take(count).enumerate() {
        let mut places = [(0, 0); 4];
        for (place, text) in places.iter_mut().zip(texts.own()) {
            let Some(text) = text else { continue };
            buffer.write(at, text);
            buffer.write(at + text.len(), b"\0");
            *place = (at as u32, text.len() as u32);
            at += text.len() + 1;
        }
        let [topic, record_id, data, mut record] = places;
        if let (Some(within), Some(text)) = (texts.within, &texts.record) {
            record = (data.0 + within as u32, text.len() as u32);
        }
        buffer.write_value(
            index * HEAD,
            PackedEvent {
                subscription: event.subscription(),
                call: event.call(),
                user_data: event.user_data(),
                index: (first + index) as u32,
                action: event.action(),
                flags: u32::from(event.is_notice()),
                topic: topic.0,
                topic_len: topic.1,
                record_id: record_id.0,
                record_id_len: record_id.1,
                record: record.0,
                record_len: record.1,
                data: data.0,
                data_len: data.1,
                reserved: 0,
            },
        );
    }
    Ok((count, needed))
}

/// The ids of subscriptions that have events to take, in the order of their turns: up to `most` of them into `ids`, and
/// their number into `*count`.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_ready(
    client: Option<&Client>,
    ids: Ids<'_>,
    most: usize,
    count: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
) -> Status {
    let mut found = 0;
    let status = answer(error, || {
        let client = given(client, "client")?.get();
        let mut ids = ids.with_len(most, "ids")?;
        let ready = client.ready(most)?;
        ids.write(&ready);
        found = ready.len();
        Ok(())
    });
    put(count, found);
    status
}

/// tidings_client_next() for the events of one subscription, without waiting.
///
/// Threads, ownership and errors: as tidings_client_next().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_take(
    client: Option<&Client>,
    id: u64,
    batch: Option<&mut Batch>,
    most: usize,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let batch = given(batch, "batch")?;
        let client = given(client, "client")?.get();
        batch.take(|items| client.take(id, items, most))
    })
}

/// Pauses a subscription without a callback, or goes on. While it is paused, its events stay in its own queue, with its
/// overflow policy, and do not make tidings_client_fd() readable: for a program whose own queue for it is full. If it
/// ends, its events and its end are delivered nevertheless. An expired id, or 0, does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_pause(
    client: Option<&Client>,
    id: u64,
    paused: bool,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || Ok(given(client, "client")?.get().pause(id, paused)?))
}
