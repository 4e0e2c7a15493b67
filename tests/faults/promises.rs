//! The columns of the table: what is promised under each fault, and how that is checked.

use std::time::{Duration, Instant};

use tidings::{GapReason, State, SubscriptionState};

use crate::{
    Fault,
    real::soon,
    scene::{Published, Told},
};

/// The promise is a second; the rest is for a loaded machine.
const CLOSING: Duration = Duration::from_millis(1500);

/// The least delay before a try that follows a failure.
const LEAST_DELAY: Duration = Duration::from_millis(200);

/// The host does nothing, and each subscription is back.
pub(crate) async fn comes_back<F: Fault>() {
    let mut scene = F::arrange().await;
    F::strike(&mut scene).await;
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    for notes in &scene.notes {
        assert_eq!(notes.state(), SubscriptionState::Live);
    }
}

/// Each change is delivered, or a gap covers it; and there is no gap without a reason.
pub(crate) async fn delivers_or_tells_the_gap<F: Fault>() {
    let mut scene = F::arrange().await;
    scene.publish("before").await;
    let mut all = scene.read().await;
    // Whoever made the next change did it after this one was here.
    F::strike(&mut scene).await;
    for n in 0..3 {
        scene.publish(&format!("meanwhile {n}")).await;
    }
    F::heal(&mut scene).await;
    scene.publish("at once").await;
    for (before, after) in all.iter_mut().zip(scene.recover::<F>().await) {
        before.titles.extend(after.titles);
        before.gaps.extend(after.gaps);
    }
    for told in &all {
        assert_eq!(!told.gaps.is_empty(), F::CUTS, "{told:?}");
        for gap in &told.gaps {
            assert_eq!(gap.reason, GapReason::Disconnected);
        }
        accounts_for(told, &scene.published);
        let mut once = told.titles.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), told.titles.len(), "delivered twice: {told:?}");
    }
}

fn accounts_for(told: &Told, published: &[Published]) {
    for change in published {
        assert!(
            told.titles.contains(&change.title) || told.gaps.iter().any(|gap| change.is_in(gap)),
            "{:?}, made between {:?} and {:?}, is neither delivered nor in a gap: {told:?}",
            change.title,
            change.began,
            change.ended,
        );
    }
}

/// The host is told that the stream was lost, and why, and that it is back; or nothing, if it was not lost.
pub(crate) async fn tells_the_state<F: Fault>() {
    let mut scene = F::arrange().await;
    // Where the stream is lost this has waited for the state that says so.
    F::strike(&mut scene).await;
    if F::LASTS {
        assert!(scene.notes.iter().all(|notes| notes.state() == SubscriptionState::Interrupted));
        assert!(!scene.client.state().is_live());
    }
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    assert!(scene.client.state().is_live());
    if !F::CUTS {
        let next = futures::poll!(scene.states.next());
        assert!(next.is_pending(), "{next:?}");
    }
}

/// However long it lasts, tries keep the distance that was set.
pub(crate) async fn does_not_spin<F: Fault>() {
    let mut scene = F::arrange().await;
    let (began, before) = (Instant::now(), scene.client.stats());
    F::strike(&mut scene).await;
    if F::LASTS {
        for _ in 0..4 {
            scene.lost().await;
        }
    }
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    let after = scene.client.stats();
    let (connects, submits) = (after.connects - before.connects, after.submits - before.submits);
    if F::LASTS {
        // The first try may follow at once: a clean end, or a stream that the server does not know.
        let most = 1 + (began.elapsed().as_millis() / LEAST_DELAY.as_millis()) as u64;
        assert!((4..=most).contains(&connects), "{connects} connects in {:?}", began.elapsed());
        assert!(submits <= connects, "{submits} submits on {connects} streams");
    } else {
        let (least, most) = if F::CUTS { F::CONNECTS.into_inner() } else { (0, 0) };
        assert!((least..=most).contains(&connects), "{connects} connects");
        assert_eq!(submits, if F::CUTS { F::SUBMITS } else { 0 });
    }
}

/// In the middle of it the client closes within the second, and its streams end.
pub(crate) async fn closes<F: Fault>() {
    let mut scene = F::arrange().await;
    F::strike(&mut scene).await;
    let began = Instant::now();
    soon("the end", scene.client.close()).await;
    assert!(began.elapsed() < CLOSING, "{:?}", began.elapsed());
    for notes in &mut scene.notes {
        while let Some(event) = soon("the end", notes.next()).await {
            assert!(!event.is_notice(), "{event:?}");
        }
        assert_eq!(notes.state(), SubscriptionState::Ended);
    }
    assert!(matches!(scene.client.state(), State::Closed { why: None }));
}

/// A call made in the middle of it returns: with success when the network is back, or with what is known: what the server said,
/// or that it cannot be reached.
pub(crate) async fn answers_calls<F: Fault>() {
    let mut scene = F::arrange().await;
    F::strike(&mut scene).await;
    let call = smol::spawn(scene.client.realtime().subscribe("jobs/finished").into_future());
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    match soon("the server's answer", call).await {
        Ok(_) => {}
        Err(error) if error.status().is_none() => assert!(F::CUTS, "{error}"),
        Err(error) => assert_eq!(error.status(), F::REFUSES, "{error}"),
    }
}

macro_rules! table {
    ($($row:ident: $fault:ty;)*) => { $(
        mod $row {
            use super::*;

            #[test]
            fn comes_back() {
                smol::block_on($crate::promises::comes_back::<$fault>());
            }

            #[test]
            fn delivers_or_tells_the_gap() {
                smol::block_on($crate::promises::delivers_or_tells_the_gap::<$fault>());
            }

            #[test]
            fn tells_the_state() {
                smol::block_on($crate::promises::tells_the_state::<$fault>());
            }

            #[test]
            fn does_not_spin() {
                smol::block_on($crate::promises::does_not_spin::<$fault>());
            }

            #[test]
            fn closes() {
                smol::block_on($crate::promises::closes::<$fault>());
            }

            #[test]
            fn answers_calls() {
                smol::block_on($crate::promises::answers_calls::<$fault>());
            }
        }
    )* };
}

pub(crate) use table;
