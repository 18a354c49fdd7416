//! Bytes of a client as a server reads them: lines of commands, and the text of a message.

use super::data::Decoder;
use super::reply::Reply;

/// Longest line of a command, in bytes: that of RFC 5321 section 4.5.3.1.4 with the parameters of RFC 3461 section 5.4
/// and RFC 6531 section 3.4, and more. The longest are those of AUTH (RFC 4954 section 4 allows 12,288 bytes, for
/// mechanisms that are not offered).
pub const LINE_MAX: usize = 2_048;

/// Bytes that were received and not yet read.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// Where the unread ones begin.
    begin: usize,
}

impl Input {
    /// Returns the buffer to which bytes of the client are appended.
    pub fn receive(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        &mut self.bytes
    }

    /// Returns what is unread.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.begin..).unwrap_or_default()
    }

    /// Returns how many bytes of memory it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets what is unread, and frees the memory.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Reads a line without its CRLF; `None` if it has not come as a whole.
    ///
    /// # Errors
    /// The last reply to the client, if the line is longer than [`LINE_MAX`] or ends with LF alone.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, Reply> {
        let unread = self.unread();
        let Some(length) = unread.iter().take(LINE_MAX).position(|&byte| byte == b'\n') else {
            if unread.len() < LINE_MAX {
                return Ok(None);
            }
            return Err(Reply::new(500, "5.5.6", format!("a line is longer than {LINE_MAX} bytes")));
        };
        let Some(line) = unread.get(..length).unwrap_or_default().strip_suffix(b"\r") else {
            return Err(Reply::new(500, "5.5.2", "a line does not end with CRLF"));
        };
        let line = line.to_vec();
        self.begin += length + 1;
        Ok(Some(line))
    }

    /// Hands the text of a message on. Returns whether it has ended.
    pub fn text(&mut self, decoder: &mut Decoder) -> bool {
        let (taken, ended) = decoder.take(self.unread());
        self.begin += taken;
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_in_order() {
        let mut input = Input::default();
        input.receive().extend_from_slice(b"NOOP\r\nRS");
        assert_eq!(input.line(), Ok(Some(b"NOOP".to_vec())));
        assert_eq!(input.line(), Ok(None));
        assert_eq!(input.unread(), b"RS");
        input.receive().extend_from_slice(b"ET\r\nA\n");
        assert_eq!(input.line(), Ok(Some(b"RSET".to_vec())));
        assert_eq!(input.line().unwrap_err().code, 500);
        input.clear();
        assert_eq!((input.unread(), input.memory()), (&b""[..], 0));
    }

    #[test]
    fn a_line_has_a_longest_length() {
        for (length, is_read) in [(LINE_MAX - 2, true), (LINE_MAX - 1, false)] {
            let mut input = Input::default();
            input.receive().extend_from_slice(&b"x".repeat(length));
            input.receive().extend_from_slice(b"\r\n");
            assert_eq!(input.line().is_ok_and(|line| line.is_some()), is_read, "{length}");
        }
    }
}
