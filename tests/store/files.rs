//! The files of the store: how they are made, and what is refused. Whatever file is at the path of the log, no stamp
//! counts as fresh because of it, and the error says what to do.

use crate::{NOW, ask};
use mailstamp::store::redb::{Options, Redb};
use mailstamp::store::{Store, StoreError, UsedLog};
use mailstamp::verdict::spend::{SpendRequest, SpendResult, Terms};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Here {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

/// A state folder with a log in which serial 1 is spent on message 1.
fn here() -> Here {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/used.redb");
    assert_eq!(log(&path).spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    Here { _folder: folder, path }
}

fn log(path: &Path) -> Redb {
    Redb::new(path, Options::default())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every question is refused, with an error whose text has this in it.
fn refused(path: &Path, text: &str) {
    let answers = [
        log(path).spend(&ask(1, 2)),
        log(path).spend(&ask(2, 1)),
        log(path).would_spend(&ask(1, 2)),
        log(path).spend(&SpendRequest { terms: Terms::LookUp, ..ask(1, 2) }),
    ];
    for answer in answers {
        let error = answer.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(log(path).summary().is_err());
}

#[test]
fn a_spend_makes_folder_and_files_for_the_user_alone() {
    let here = here();
    assert_eq!(mode(here.path.parent().unwrap()), 0o700);
    assert_eq!(mode(&here.path), 0o600);
    assert_eq!(mode(&here.path.with_extension("redb.lock")), 0o600);
    let names = fs::read_dir(here.path.parent().unwrap()).unwrap().count();
    assert_eq!(names, 2);
}

#[test]
fn a_question_that_writes_nothing_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/used.redb");
    assert_eq!(log(&path).would_spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    assert_eq!(log(&path).spend(&SpendRequest { terms: Terms::LookUp, ..ask(1, 1) }).unwrap(), SpendResult::Fresh);
    log(&path).purge(NOW, 0, 10).unwrap();
    assert!(!path.parent().unwrap().exists());
    let bare = folder.path().join("used.redb");
    assert_eq!(log(&bare).would_spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_symbolic_link_is_refused() {
    let here = here();
    let real = here.path.with_extension("real");
    fs::rename(&here.path, &real).unwrap();
    symlink(&real, &here.path).unwrap();
    refused(&here.path, "used.redb: unsafe: a symbolic link");
}

#[test]
fn a_symbolic_link_in_the_place_of_the_lock_is_refused() {
    let here = here();
    let lock = here.path.with_extension("redb.lock");
    fs::remove_file(&lock).unwrap();
    symlink("/dev/null", &lock).unwrap();
    refused(&here.path, "used.redb.lock: unsafe: a symbolic link");
}

#[test]
fn a_fifo_or_a_folder_or_a_device_is_refused_without_waiting() {
    let here = here();
    fs::remove_file(&here.path).unwrap();
    assert!(Command::new("mkfifo").arg(&here.path).status().unwrap().success());
    set_mode(&here.path, 0o600);
    refused(&here.path, "used.redb: not a regular file");
    fs::remove_file(&here.path).unwrap();
    fs::create_dir(&here.path).unwrap();
    refused(&here.path, "used.redb: not a regular file");
}

#[test]
fn what_others_can_write_is_refused() {
    let here = here();
    for bad in [0o620, 0o602, 0o666] {
        set_mode(&here.path, bad);
        refused(&here.path, &format!("used.redb: unsafe permissions: mode {bad:04o}, others may write"));
    }
    set_mode(&here.path, 0o600);
    let folder = here.path.parent().unwrap();
    set_mode(folder, 0o770);
    refused(&here.path, "state: unsafe permissions: mode 0770, others may write");
    set_mode(folder, 0o755);
    assert!(matches!(log(&here.path).spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
}

#[test]
fn garbage_an_empty_file_and_a_cut_one_are_damage() {
    let here = here();
    let whole = fs::read(&here.path).unwrap();
    for (content, text) in [
        (vec![], "the file is empty; restore it from a backup"),
        (b"From someone".to_vec(), "it is not a database"),
        (vec![0; 100_000], "it is not a database"),
        (whole[..whole.len() / 2].to_vec(), "damaged, or not a file of mailstamp"),
        (whole[..4_096].to_vec(), "damaged, or not a file of mailstamp"),
        (whole[..9].to_vec(), "damaged, or not a file of mailstamp"),
    ] {
        fs::write(&here.path, content).unwrap();
        refused(&here.path, text);
    }
}

/// Any byte of the file is changed: the answer is an error or still the right one. A changed key is the one exception,
/// since redb checks sums only on demand: no row of that stamp is left then, as `verify` would tell.
#[test]
fn no_changed_byte_outside_the_rows_makes_a_used_stamp_fresh() {
    let here = here();
    for serial in 2..60 {
        log(&here.path).spend(&ask(serial, 1)).unwrap();
    }
    let whole = fs::read(&here.path).unwrap();
    let filled: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
    assert!(filled.len() > 500, "{}", filled.len());
    let (mut errors, mut answers) = (0, 0);
    for at in filled.into_iter().step_by(23) {
        let file = fs::OpenOptions::new().write(true).open(&here.path).unwrap();
        file.write_all_at(&whole, 0).unwrap();
        file.set_len(whole.len() as u64).unwrap();
        file.write_all_at(&[whole[at] ^ 0x10], at as u64).unwrap();
        match log(&here.path).would_spend(&ask(30, 2)) {
            Err(_) => errors += 1,
            Ok(SpendResult::DoubleSpend { .. }) => answers += 1,
            Ok(SpendResult::Fresh) => assert!(in_leaf(&whole, at), "byte {at}"),
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert!(errors > 10 && answers > 10, "{errors} {answers}");
}

/// Whether byte `at` lies in a page of rows: such a page begins with a 1.
fn in_leaf(whole: &[u8], at: usize) -> bool {
    whole[at / 4_096 * 4_096] == 1
}

/// Neither root nor any other user can make files there.
#[test]
fn a_folder_that_cannot_be_written_is_reported() {
    let log = log(Path::new("/sys/kernel/used.redb"));
    assert_eq!(log.would_spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
    let error = log.spend(&ask(1, 1)).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("cannot be written; check who owns it"), "{error}");
}

#[test]
fn a_database_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("used.redb");
    let other = redb::Database::create(&path).unwrap();
    let tx = other.begin_write().unwrap();
    tx.open_table(redb::TableDefinition::<u64, u64>::new("sums")).unwrap().insert(1, 1).unwrap();
    tx.commit().unwrap();
    drop(other);
    set_mode(&path, 0o600);
    refused(&path, "not a file of mailstamp: Table 'meta' does not exist");
}

/// Promise 8 the other way round: the log of a newer program is not changed.
#[test]
fn a_log_of_another_format_is_refused() {
    let here = here();
    for format in [1, 2, 5] {
        let database = redb::Database::open(&here.path).unwrap();
        let tx = database.begin_write().unwrap();
        tx.open_table(redb::TableDefinition::<&str, u32>::new("meta")).unwrap().insert("format", format).unwrap();
        tx.commit().unwrap();
        drop(database);
        let said =
            format!("unknown format {format}: this version knows 3; use a version of mailstamp that knows {format}");
        refused(&here.path, &said);
    }
}

/// Threat 6: a log that disappeared is an error, not an empty log.
#[test]
fn a_log_that_was_removed_is_missed() {
    let here = here();
    let open = log(&here.path);
    open.spend(&ask(5, 1)).unwrap();
    fs::remove_file(&here.path).unwrap();
    assert!(matches!(open.spend(&ask(1, 2)), Err(StoreError::Missing { .. })), "by a process that had it open");
    drop(open);
    refused(&here.path, "used.redb.lock to begin an empty one");
    fs::remove_file(here.path.with_extension("redb.lock")).unwrap();
    assert_eq!(log(&here.path).spend(&ask(1, 2)).unwrap(), SpendResult::Fresh);
}

#[test]
fn a_log_that_was_replaced_is_opened_anew_by_who_had_it_open() {
    let here = here();
    let backup = here.path.with_extension("backup");
    fs::copy(&here.path, &backup).unwrap();
    let open = log(&here.path);
    assert_eq!(open.spend(&ask(2, 1)).unwrap(), SpendResult::Fresh);
    fs::rename(&backup, &here.path).unwrap();
    assert_eq!(open.spend(&ask(3, 1)).unwrap(), SpendResult::Fresh);
    drop(open);
    assert!(matches!(log(&here.path).would_spend(&ask(3, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
}

#[test]
fn a_log_without_its_lock_file_gets_one() {
    let here = here();
    let lock = here.path.with_extension("redb.lock");
    fs::remove_file(&lock).unwrap();
    assert!(matches!(log(&here.path).would_spend(&ask(1, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
    assert!(lock.exists());
    fs::remove_file(&here.path).unwrap();
    assert!(matches!(log(&here.path).would_spend(&ask(1, 2)), Err(StoreError::Missing { .. })));
}

#[test]
fn what_a_killed_maker_left_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("used.redb");
    for left in [&b""[..], b"half"] {
        fs::write(path.with_extension("redb.new"), left).unwrap();
        fs::write(path.with_extension("redb.lock"), "").unwrap();
        assert_eq!(log(&path).spend(&ask(1, 1)).unwrap(), SpendResult::Fresh);
        assert!(!path.with_extension("redb.new").exists());
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn compacting_and_verifying_keep_every_row() {
    let here = here();
    let log = log(&here.path);
    for serial in 2..300 {
        log.spend(&ask(serial, 1)).unwrap();
    }
    log.compact().unwrap();
    assert!(log.verify().unwrap());
    log.release();
    assert!(log.verify().unwrap());
    assert_eq!(log.summary().unwrap().used, 299);
    assert!(matches!(log.spend(&ask(200, 2)).unwrap(), SpendResult::DoubleSpend { .. }));
}
