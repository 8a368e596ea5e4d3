use std::time::Duration;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::frames::GOAWAY;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const UNKNOWN: u8 = 0xee;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// How many of these frames in a row are taken.
fn taken(budget: &mut Budget, frame: &[u8], at_most: usize) -> usize {
    (0..at_most)
        .take_while(|_| budget.received(frame).is_ok())
        .count()
}

fn begun() -> Budget {
    let mut budget = Budget::new();
    budget.received(PREFACE).unwrap();
    budget
}

#[tokio::test(start_paused = true)]
async fn frames_of_no_use_end_at_the_burst() {
    for (what, useless) in [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PING's answer", frame(PING, 1, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0; 5])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("GOAWAY", frame(GOAWAY, 0, 0, &[0; 8])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
        (
            "DATA all padding",
            frame(DATA, 8, 1, &[[255].as_slice(), &[0; 255]].concat()),
        ),
        ("DATA of a length of padding", frame(DATA, 8, 1, &[0])),
        ("more padding than DATA", frame(DATA, 8, 1, &[255])),
        ("CONTINUATION", frame(CONTINUATION, 0, 1, b"x")),
        ("empty CONTINUATION", frame(CONTINUATION, 0, 1, b"")),
        ("an unknown frame", frame(UNKNOWN, 0, 0, b"x")),
    ] {
        assert_eq!(taken(&mut begun(), &useless, 5000), 1000, "{what}");
    }
    let large = frame(SETTINGS, 0, 0, &[0; 16_380]);
    assert_eq!(taken(&mut begun(), &large, 5000), 1000 / 16);
    let impossible = frame(UNKNOWN, 0, 0, &vec![0; (1 << 24) - 1]);
    assert_eq!(taken(&mut begun(), &impossible, 5000), 0);
}

#[tokio::test(start_paused = true)]
async fn time_refills_to_the_burst_and_no_more() {
    let ping = frame(PING, 0, 0, &[0; 8]);
    let mut budget = begun();
    assert_eq!(taken(&mut budget, &ping, 5000), 1000);
    advance(Duration::from_millis(500)).await;
    assert_eq!(taken(&mut budget, &ping, 5000), 50);
    advance(Duration::from_secs(3600)).await;
    assert_eq!(taken(&mut budget, &ping, 5000), 1000);
    for _ in 0..100_000 {
        advance(Duration::from_millis(11)).await;
        budget.received(&ping).unwrap();
    }
}

/// A client's own behaviour, many times over, without a moment passing.
#[tokio::test(start_paused = true)]
async fn useful_clients_have_enough() {
    let request = frame(HEADERS, 4, 1, &[0x82; 40]);
    let ping = frame(PING, 0, 0, &[0; 8]);
    let window = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]);
    let priority = frame(PRIORITY, 0, 1, &[0; 5]);
    let update = frame(0x10, 0, 0, b"\0\0\0\x01u=1");
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    let end = frame(DATA, 1, 1, &[]);

    let mut browser = begun();
    for _ in 0..100_000 {
        for part in [&request, &priority, &update, &window, &end, &reset] {
            browser.received(part).unwrap();
        }
    }
    let mut gets_small_messages = begun();
    for _ in 0..100_000 {
        gets_small_messages.sent(7);
        for part in [&window, &window, &ping] {
            gets_small_messages.received(part).unwrap();
        }
    }
    let mut downloads_with_go = begun();
    for _ in 0..100_000 {
        downloads_with_go.sent(16 * 1024);
        for _ in 0..4 {
            downloads_with_go.received(&window).unwrap();
            downloads_with_go.received(&window).unwrap();
        }
        downloads_with_go.received(&ping).unwrap();
    }
    // Everything was sent before the first byte was read.
    let mut reads_late = begun();
    for _ in 0..1000 {
        reads_late.sent(16 * 1024);
    }
    assert_eq!(taken(&mut reads_late, &window, 8000), 8000);
    let mut uploads = begun();
    for _ in 0..100_000 {
        uploads.received(&frame(DATA, 0, 1, &[0; 5])).unwrap();
        uploads.received(&ping).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn savings_end_somewhere() {
    let mut budget = begun();
    for _ in 0..1000 {
        budget.sent(usize::MAX >> 20);
    }
    let ping = frame(PING, 0, 0, &[0; 8]);
    let savings = SAVINGS as usize;
    assert_eq!(taken(&mut budget, &ping, 2 * savings), savings);
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0_u8), Just(1), 2..=11_u8];
    let payload = prop_oneof![Just(0_usize), 0..20_usize, 0..40_000_usize];
    (kind, any::<u8>(), any::<u32>(), payload, any::<u8>()).prop_map(
        |(kind, flags, stream, length, fill)| frame(kind, flags, stream, &vec![fill; length]),
    )
}

proptest! {
    /// However the bytes come, the same frames are counted, and the same is left.
    #[test]
    fn the_pieces_do_not_matter(
        frames in prop::collection::vec(any_frame(), 0..200),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        budget in 0..100_u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build().unwrap();
        let _entered = runtime.enter();
        let bytes = [PREFACE.to_vec(), frames.concat()].concat();
        let mut whole = Budget { left: budget, ..Budget::new() };
        let at_once = whole.received(&bytes);

        let mut places: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len())).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let mut pieces = Budget { left: budget, ..Budget::new() };
        let mut ended = Ok(());
        for pair in places.windows(2) {
            if let Err(at) = pieces.received(&bytes[pair[0]..pair[1]]) {
                ended = Err(pair[0] + at);
                break;
            }
        }
        prop_assert_eq!(at_once.is_ok(), ended.is_ok());
        prop_assert_eq!(whole.left, pieces.left);
        prop_assert_eq!(whole.last_stream, pieces.last_stream);
        if let (Err(whole), Err(pieces)) = (at_once, ended) {
            // Of the frame that was too many at most the head went through, which could not be judged yet.
            prop_assert!(whole <= pieces && pieces < whole + 10, "{whole} and {pieces}");
        }
    }

    /// Bytes that are no frames at all are followed, too.
    #[test]
    fn any_bytes_are_followed(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut frames = Frames::after(0);
        let mut at = 0;
        while at < bytes.len() {
            let before = frames.clone();
            let until = before.until_boundary(&bytes[at..]);
            prop_assert!(until <= bytes.len() - at);
            prop_assert_eq!(until == 0, before.at_boundary());
            let (read, _) = frames.step(&bytes[at..]);
            prop_assert!(read > 0);
            at += read;
        }
    }
}
