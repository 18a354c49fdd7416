//! No two files of the source import each other, directly or through others. Unit tests are left out, and a `mod.rs`
//! may name its own submodules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

type Module = Vec<String>;

/// Every module with the code of its file, without comments and unit tests.
fn modules() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut modules = BTreeMap::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            module.pop_if(|last| last == "mod");
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = code.lines().map(|line| line.split("//").next().unwrap());
            modules.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
    modules
}

/// The paths of a `use` tree, each whole.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![tree.split_whitespace().next().unwrap_or_default().to_owned()];
    };
    let body = &rest[..rest.rfind('}').unwrap()];
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(leaves(&body[start..at]).into_iter().map(|leaf| format!("{head}{leaf}")));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Every path in the code that begins at the root or at a parent.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let in_use = code[..at].trim_end().ends_with("use");
            let end = |c: char| if in_use { c == ';' } else { !c.is_alphanumeric() && c != '_' && c != ':' };
            let path: String = code[at..].chars().take_while(|c| !end(*c)).collect();
            found.extend(leaves(&path));
        }
    }
    found
}

/// The file that a path in `module` leads to.
fn target<'a>(modules: &'a BTreeMap<Module, String>, module: &Module, path: &str) -> Option<&'a Module> {
    let mut base = module.clone();
    let mut parts = path.split("::").filter(|part| !part.is_empty()).peekable();
    if parts.next_if_eq(&"crate").is_some() {
        base.clear();
    }
    while parts.next_if_eq(&"super").is_some() {
        base.pop();
    }
    base.extend(parts.map(str::to_owned));
    (1..=base.len()).rev().find_map(|length| modules.get_key_value(&base[..length]).map(|(found, _)| found))
}

#[test]
fn no_file_is_in_a_cycle_of_imports() {
    let modules = modules();
    let mut imports: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, code) in &modules {
        let found = paths(code).into_iter().filter_map(|path| target(&modules, module, &path));
        imports.insert(module, found.filter(|found| *found != module).collect());
    }
    let arrows: usize = imports.values().map(BTreeSet::len).sum();
    assert!(arrows > 1_000, "only {arrows} imports were seen");
    // A file that imports nothing that is left, or that no file that is left imports, is in no cycle.
    loop {
        let left: BTreeSet<&Module> = imports.keys().copied().collect();
        let imported: BTreeSet<&Module> = imports.values().flatten().copied().collect();
        imports.retain(|module, targets| {
            targets.retain(|target| left.contains(target));
            !targets.is_empty() && imported.contains(module)
        });
        if imports.len() == left.len() {
            break;
        }
    }
    let cycles: Vec<String> = imports.keys().map(|module| module.join("/")).collect();
    assert_eq!(cycles, Vec::<String>::new(), "these import each other");
}

#[test]
fn paths_are_found_in_every_form() {
    let code = "use super::{a::B, c::{self, D}};\nuse crate::e as f;\nlet x = crate::f::g(super::h::I);";
    let mut found = paths(code);
    found.sort();
    assert_eq!(found, ["crate::e", "crate::f::g", "super::a::B", "super::c::D", "super::c::self", "super::h::I"]);
}
