//! Over a pipe that holds few bytes, so that frames are written in pieces.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const GET: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 7, 0x82];
const BURST: usize = 1000;

fn calm(io: DuplexStream) -> (Calm<DuplexStream>, IntCounter) {
    let floods = IntCounter::new("floods", "x").unwrap();
    (Calm::new(io, floods.clone()), floods)
}

fn data(length: usize) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(length).unwrap().to_be_bytes();
    let head = [&length, [0, 0, 0, 0, 0, 7].as_slice()].concat();
    let payload = (0..300).cycle().map(|n| (n % 256) as u8);
    let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
    head.into_iter().chain(payload.take(length)).collect()
}

fn farewell() -> Vec<u8> {
    goaway(7).to_vec()
}

/// Reads as h2 does, until an error; what came before it and the error's kind.
async fn read_all(calm: &mut Calm<DuplexStream>) -> (Vec<u8>, io::ErrorKind) {
    let mut read = Vec::new();
    loop {
        let mut piece = BytesMut::with_capacity(500);
        match calm.read_buf(&mut piece).await {
            Ok(0) => panic!("the end of the stream would be a peer who left"),
            Ok(_) => read.extend(piece),
            Err(error) => return (read, error.kind()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_good_passes_byte_for_byte() {
    let (mut peer, ours) = duplex(1 << 20);
    let (mut calm, floods) = calm(ours);
    let good = [PREFACE, GET, &PING.repeat(BURST), &data(70_000)].concat();
    peer.write_all(&good).await.unwrap();
    let mut read = vec![0; good.len()];
    calm.read_exact(&mut read).await.unwrap();
    assert!(read == good);
    calm.write_all(&good).await.unwrap();
    peer.read_exact(&mut read).await.unwrap();
    assert!(read == good);
    assert_eq!(floods.get(), 0);
    drop(peer);
    assert_eq!(calm.read(&mut read).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_told_to_calm_down() {
    let (mut peer, ours) = duplex(1 << 20);
    let (mut calm, floods) = calm(ours);
    let sent = [PREFACE, GET, &PING.repeat(5000)].concat();
    peer.write_all(&sent).await.unwrap();
    peer.shutdown().await.unwrap();
    let (read, error) = read_all(&mut calm).await;
    let passed = PREFACE.len() + GET.len() + (BURST + 10) * PING.len();
    assert!(
        read == sent[..passed],
        "{} bytes instead of {passed}",
        read.len()
    );
    assert_eq!(error, io::ErrorKind::ConnectionAborted);
    assert_eq!(calm.write(b"x").await.unwrap_err().kind(), error);
    assert_eq!(floods.get(), 1);
    drop(calm);
    let mut told = Vec::new();
    peer.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, farewell());
}

/// The farewell comes behind the frame that is being written, in whatever piece its head and payload are.
#[tokio::test(start_paused = true)]
async fn the_farewell_never_cuts_a_frame() {
    let frame = data(300);
    let next = data(5);
    for cut in 0..=frame.len() {
        let (mut peer, ours) = duplex(1 << 20);
        let (mut calm, _) = calm(ours);
        peer.write_all(&[PREFACE, GET, &PING.repeat(5000)].concat())
            .await
            .unwrap();
        peer.shutdown().await.unwrap();
        calm.write_all(&frame[..cut]).await.unwrap();
        let began = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(calm);
        // One task polls both, as h2 does.
        let reading = async {
            let mut scratch = [0; 5000];
            loop {
                if let Err(error) = reader.read(&mut scratch).await {
                    return error.kind();
                }
            }
        };
        let rest = [&frame[cut..], &next].concat();
        let writing = async {
            tokio::task::yield_now().await;
            writer.write_all(&rest).await.unwrap_err().kind()
        };
        let ended = timeout(10 * PARTING, async { tokio::join!(reading, writing) }).await;
        let aborted = io::ErrorKind::ConnectionAborted;
        assert_eq!(ended.unwrap(), (aborted, aborted), "{cut}");
        drop((reader, writer));
        assert!(began.elapsed() < PARTING);
        let mut told = Vec::new();
        peer.read_to_end(&mut told).await.unwrap();
        // At the boundaries there is no frame to finish.
        let whole = if cut == 0 { &[] } else { frame.as_slice() };
        assert!(told == [whole, &farewell()].concat(), "{cut}");
    }
}

/// A peer that does not read the frame that is being written, or goes on flooding, holds us for no longer.
#[tokio::test(start_paused = true)]
async fn leave_taking_is_bounded() {
    let (mut peer, ours) = duplex(64);
    let (mut calm, _) = calm(ours);
    let flood = tokio::spawn(async move {
        let mut sent = PREFACE.to_vec();
        sent.extend(PING.repeat(2000));
        // Until it is cut off.
        while peer.write_all(&sent).await.is_ok() {
            sent = PING.to_vec();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let stuck = timeout(Duration::from_secs(1), calm.write_all(&data(300))).await;
    assert!(stuck.is_err(), "the peer reads nothing");
    let began = Instant::now();
    let (_, error) = read_all(&mut calm).await;
    assert_eq!(error, io::ErrorKind::ConnectionAborted);
    let took = began.elapsed();
    assert!(took >= PARTING && took < 3 * PARTING, "{took:?}");
    drop(calm);
    flood.await.unwrap();
}

/// An unread flood is thrown away up to a bound.
#[tokio::test(start_paused = true)]
async fn a_lingering_flood_is_cut_off() {
    let (mut peer, ours) = duplex(4 << 20);
    let (mut calm, _) = calm(ours);
    peer.write_all(&[PREFACE, &PING.repeat(200_000)].concat())
        .await
        .unwrap();
    let (read, _) = read_all(&mut calm).await;
    assert_eq!(read.len(), PREFACE.len() + BURST * PING.len());
    drop(calm);
    let mut told = Vec::new();
    peer.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, goaway(0));
}
