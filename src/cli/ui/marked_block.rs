//! A marked block in a file of the user: it goes in once, and comes out as it went in.

/// First and last line of each block.
pub const BEGIN: &str = "# >>> mailstamp setup >>>\n";
pub const END: &str = "# <<< mailstamp setup <<<\n";

/// Returns the file with the block: in the place of an older one, else at the beginning. `None` if a block has a
/// beginning and no end.
pub fn with(bytes: &[u8], block: &str) -> Option<Vec<u8>> {
    match find(bytes, BEGIN.as_bytes()) {
        Some(begin) => {
            let rest = &bytes[begin..];
            let end = begin + find(rest, END.as_bytes())? + END.len();
            Some([&bytes[..begin], block.as_bytes(), &bytes[end..]].concat())
        }
        None => Some([block.as_bytes(), bytes].concat()),
    }
}

/// Returns the file without this block; `None` if it does not have it as it was written.
pub fn without(bytes: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    let begin = find(bytes, block).filter(|_| !block.is_empty())?;
    Some([&bytes[..begin], &bytes[begin + block.len()..]].concat())
}

/// Returns whether the file has a block.
pub fn is_in(bytes: &[u8]) -> bool {
    find(bytes, BEGIN.as_bytes()).is_some()
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_in_once_and_comes_out_whole() {
        let block = |text: &str| format!("{BEGIN}{text}\n{END}");
        let (old, new) = (block("old"), block("new"));
        for file in [&b""[..], b":0\ninbox\n", b"no line end", b"\xff\r\n"] {
            let first = with(file, &old).unwrap();
            assert!(is_in(&first) && !is_in(file));
            assert_eq!(with(&first, &old).unwrap(), first);
            let second = with(&first, &new).unwrap();
            assert_eq!(without(&second, new.as_bytes()).unwrap(), file);
            assert_eq!(without(&second, old.as_bytes()), None);
        }
        assert_eq!(with(old.replace(END, "").as_bytes(), &new), None);
    }
}
