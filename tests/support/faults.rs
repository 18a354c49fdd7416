//! What may stand at the path of mailstamp, or happen to it, when a recipe calls it; and the spellings of the class
//! field that a sender may forge.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::{chmod, stand_in};
use std::fs;
use std::path::Path;

/// What stands at the path.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing.
    Missing,
    /// A folder.
    Folder,
    /// The program without permission to execute it.
    NotExecutable,
    /// A mail folder in one file: a shell that is made to run it runs the message.
    Mailbox,
    /// A shell script. `REAL` in it stands for the path of the true program.
    Script(&'static str),
}

impl Fault {
    /// Puts it in place of the program at this path. The true one must be beside it under the name `aside`.
    pub fn put(self, path: &Path) {
        mend(path, false);
        match self {
            Self::Missing => {}
            Self::Folder => fs::create_dir(path).unwrap(),
            Self::NotExecutable => {
                stand_in(path, "#!/bin/sh\ncat >/dev/null\necho first-class paid\n");
                chmod(path, 0o644);
            }
            Self::Mailbox => {
                let text = "From a@y.example Sat Nov 21 12:00:00 2026\necho first-class paid\nexit 0\n";
                fs::write(path, text).unwrap();
            }
            Self::Script(script) => {
                let real = path.with_file_name("aside").display().to_string();
                stand_in(path, &format!("#!/bin/sh\n{}\n", script.replace("REAL", &real)));
            }
        }
    }
}

/// Moves the true program out of the way, so that faults can take its place.
pub fn set_aside(path: &Path) {
    fs::rename(path, path.with_file_name("aside")).unwrap();
}

/// Removes what stands at the path, and puts the true program there if `restored`.
pub fn mend(path: &Path, restored: bool) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    if restored {
        fs::rename(path.with_file_name("aside"), path).unwrap();
    }
}

/// Faults that every recipe must notice. After each of them, the message waits or is filed as undecided.
pub const FAULTS: [(&str, Fault); 19] = [
    ("missing", Fault::Missing),
    ("a folder", Fault::Folder),
    ("not executable", Fault::NotExecutable),
    ("a mail folder", Fault::Mailbox),
    ("killed", Fault::Script("cat >/dev/null; kill -9 $$")),
    ("ended before it reads", Fault::Script("kill -15 $$")),
    ("crashed", Fault::Script("kill -11 $$")),
    ("killed after half of its output", Fault::Script("REAL \"$@\" | head -c 12; kill -9 $$")),
    ("status 1", Fault::Script("cat >/dev/null; echo first-class paid; exit 1")),
    ("status 75", Fault::Script("cat >/dev/null; echo first-class paid; exit 75")),
    ("status 101", Fault::Script("cat >/dev/null; echo first-class paid; exit 101")),
    ("status 127", Fault::Script("cat >/dev/null; exit 127")),
    ("its configuration is missing", Fault::Script("exec REAL --config /nonexistent \"$@\"")),
    ("an old version", Fault::Script("case $1 in --version) exec REAL \"$@\";; esac; cat >/dev/null; exit 64")),
    ("another program that prints nothing", Fault::Script("cat >/dev/null")),
    ("another program that reads nothing", Fault::Script("exit 0")),
    ("another program that prints something", Fault::Script("cat >/dev/null; echo hello")),
    ("another program that prints what it reads", Fault::Script("cat")),
    ("another program that prints a class", Fault::Script("cat >/dev/null; echo first-class paid")),
];

/// Those of them that programs meet which hand a message over for good. Status 0 of another program would lose mail.
pub const FINAL_FAULTS: [(&str, Fault); 10] =
    [FAULTS[0], FAULTS[1], FAULTS[2], FAULTS[4], FAULTS[8], FAULTS[10], FAULTS[12], FAULTS[13], FAULTS[14], FAULTS[17]];

/// Faults of programs that do well in part, for recipes that ask for a class.
pub const CLASS_FAULTS: [(&str, Fault); 4] = [
    (
        "status 0 with another word",
        Fault::Script("case $1 in classify) cat >/dev/null; echo used used;; *) REAL \"$@\";; esac"),
    ),
    ("another status", Fault::Script("REAL \"$@\"; case $1 in classify) exit 21;; esac")),
    ("fields cannot be removed", Fault::Script("case $1 in strip) exit 64;; esac; exec REAL \"$@\"")),
    ("killed while fields are removed", Fault::Script("case $1 in strip) kill -9 $$;; esac; exec REAL \"$@\"")),
];

/// A program that never ends.
pub const HANGS: Fault = Fault::Script("exec sleep 3600");

/// The class field as senders may write it, so that some reader takes it for that of mailstamp.
pub const SPELLINGS: [&str; 33] = [
    "Digital-Stamp-Class: first-class; reason=paid",
    "digital-stamp-class: first-class",
    "DIGITAL-STAMP-CLASS: first-class",
    "dIgItAl-StAmP-cLaSs:first-class",
    "Digital-Stamp-Class : first-class",
    "Digital-Stamp-Class\t: first-class",
    "Digital-Stamp-Class \t : first-class",
    "Digital-Stamp-Class:\tfirst-class",
    "Digital-Stamp-Class:\n first-class",
    "Digital-Stamp-Class:\n\tfirst-class",
    "Digital-Stamp-Class:\n \n first-class",
    "Digital-Stamp-Class: first-\n class; reason=paid",
    "Digital-Stamp-Class:",
    "Digital-Stamp-Class: (comment) first-class",
    "Digital-Stamp-Class: first-class\n unstamped",
    "Digital-Stamp-Class: first-class\nDigital-Stamp-Class: first-class",
    "Digital-Stamp-Class::first-class",
    "Digital-Stamp-Class: =?utf-8?q?first-class?=",
    "Digital-Stamp -Class: first-class",
    "Digital-Stamp-Class\u{b}: first-class",
    "Digital-Stamp-Class\u{c}: first-class",
    "Digital-Stamp-Class\u{7f}: first-class",
    "Digital-Stamp-Class\u{a0}: first-class",
    "\u{feff}Digital-Stamp-Class: first-class",
    "\u{8}Digital-Stamp-Class: first-class",
    "Digital-Stamp-Class: first-class\u{1}",
    "Digital-Stamp-Class: a\nDigital-Stamp-Class : b\ndigital-stamp-class:c",
    "no colon\nDigital-Stamp-Class: first-class",
    "no colon\nDigital-Stamp-Class : first-class",
    " a blank first\nDigital-Stamp-Class: first-class",
    "Subject: a\rDigital-Stamp-Class: first-class",
    "Digital-Stamp-Class\r: first-class",
    "Digital-Stamp-Class: first-class\rX: b",
];

/// Counts the lines of the header that a tolerant reader takes for a class field: a line also ends at a lone CR, and
/// of a name only visible ASCII counts.
pub fn class_fields(message: &[u8]) -> usize {
    let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
    let header = text.split("\n\n").next().unwrap_or_default();
    let is_class = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        let visible: String = name.chars().filter(char::is_ascii_graphic).collect();
        visible.eq_ignore_ascii_case("Digital-Stamp-Class")
    };
    header.split(['\n', '\r']).filter(is_class).count()
}
