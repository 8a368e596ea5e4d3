use std::time::Duration;

use listener::BodyError;

use super::Upload;

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn silence_is_counted_against_the_upstream_only_in_its_turn() {
    let upload = Upload::new();
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(upload.patience(LIMIT), Duration::from_secs(6));
    upload.wait();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(upload.patience(LIMIT), LIMIT, "the client's turn");
    upload.advance();
    assert_eq!(upload.patience(LIMIT), LIMIT, "just given a piece");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(upload.patience(LIMIT), Duration::ZERO);
}

#[test]
fn a_fault_of_the_body_is_remembered() {
    let upload = Upload::new();
    assert_eq!(upload.fault(), None);
    for fault in [
        BodyError::TooLarge,
        BodyError::TimedOut,
        BodyError::Malformed,
        BodyError::Aborted,
    ] {
        upload.fail(&fault);
        assert_eq!(upload.fault(), Some(fault));
    }
}
