//! Frames between processes, and the JSON in their heads. Whatever comes is a frame, the beginning of one, or an error;
//! what is a frame is written the same; heads that are understood say the same when they are written and read again.

use mailstamp::engine::remote::protocol::{JudgeRequest, JudgeResponse};
use mailstamp::ipc::frame::{Limits, begin, take};
use mailstamp::store::combining::client::decode_error;
use mailstamp::verdict::spend::{SpendRequest, SpendResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

const LIMITS: Limits = Limits { head: 4 * 1024, body: 8 * 1024 };

/// Checks one input.
pub fn run(input: &[u8]) {
    let mut rest = input.to_vec();
    while let Ok(Some(frame)) = take(&mut rest, LIMITS) {
        let mut written = begin(frame.kind, &frame.head, frame.body.len()).expect("lengths that came");
        written.extend(&frame.body);
        let from = input.len() - rest.len() - written.len();
        assert_eq!(written, input[from..from + written.len()]);
        head(&frame.head);
    }
    // Most inputs are no frames; their heads are checked all the same.
    head(input);
}

fn head(head: &[u8]) {
    again::<JudgeRequest>(head);
    again::<SpendRequest>(head);
    again::<SpendResult>(head);
    let _ = decode_error(head);
    if let Some(answer) = JudgeResponse::from_head(head) {
        let written = answer.to_head().expect("what was read");
        assert_eq!(JudgeResponse::from_head(&written), Some(answer));
    }
}

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(head: &[u8]) {
    if let Ok(words) = serde_json::from_slice::<T>(head) {
        let written = serde_json::to_vec(&words).expect("what was read");
        assert_eq!(serde_json::from_slice::<T>(&written).expect("what was written"), words);
    }
}
