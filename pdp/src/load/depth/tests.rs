use super::*;

/// Conditions that are `n` levels deep in one way or another, and the levels that are counted for
/// each of the `n` at most.
pub(crate) fn shapes(n: usize) -> Vec<(&'static str, String)> {
    let chain = |item: &str, operator: &str| vec![item; n].join(operator);
    let nest = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(n), close.repeat(n))
    };
    vec![
        ("brackets", nest("(", "principal == resource", ")")),
        ("not", nest("!(", "principal == resource", ")")),
        ("or", chain("principal == resource", " || ")),
        (
            "or of brackets",
            chain("(principal == resource && action == resource)", " || "),
        ),
        (
            "when",
            format!("true }} {}", "when { principal != resource } ".repeat(n))
                .trim_end_matches([' ', '}'])
                .to_owned(),
        ),
        ("and", chain("principal != resource", " && ")),
        ("plus", format!("{} == 0", chain("1", " + "))),
        ("times", format!("{} == 1", chain("1", " * "))),
        (
            "if",
            format!(
                "{}true",
                "if principal == resource then true else ".repeat(n)
            ),
        ),
        (
            "if in brackets",
            nest("if (", "principal == resource", ") then true else false"),
        ),
        (
            "member",
            format!("context has a && context{} == 1", ".a".repeat(n)),
        ),
        (
            "index",
            format!("context has a && context{} == 1", "[\"a\"]".repeat(n)),
        ),
        ("has", format!("context has a{}", ".a".repeat(n))),
        ("set", format!("{}.isEmpty()", nest("[", "1", "]"))),
        ("record", format!("{} == 1", nest("{a: ", "1", "}"))),
        ("call", nest("[1].contains(", "1", ")")),
        (
            "comparison",
            nest("1 > (if ", "principal == resource", " then 1 else 2)"),
        ),
    ]
}

pub(crate) fn policy(condition: &str) -> String {
    format!("permit(principal, action, resource) when {{ {condition} }};")
}

/// The policy of each shape that is as deep as is still accepted.
pub(crate) fn deepest() -> Vec<(&'static str, String)> {
    let accepted = |text: &str| measure(text).excess.is_empty();
    let shape = |index: usize, n: usize| policy(&shapes(n)[index].1);
    (0..shapes(1).len())
        .map(|index| {
            let (mut low, mut high) = (1, MAX_HEIGHT + 1);
            while high - low > 1 {
                let middle = usize::midpoint(low, high);
                if accepted(&shape(index, middle)) {
                    low = middle
                } else {
                    high = middle
                }
            }
            (shapes(1)[index].0, shape(index, low))
        })
        .collect()
}

#[test]
fn the_estimate_counts_along_the_deepest_path() {
    let height = |condition: &str| measure(&policy(condition)).height;
    let flat = height("true");
    assert_eq!(height("a || b"), flat + 1);
    assert_eq!(height("a == b || c == d || e == f"), height("a == b") + 2);
    assert_eq!(height("[1, 2, 3, 4, 5, 6, 7, 8, 9]"), height("[1]"));
    assert_eq!(height("[(a), (b), (c)]"), height("[(a)]"));
    assert_eq!(
        height("\"((((((((((\" == \"\\\"((((((\""),
        height("\"\" == \"\"")
    );
    assert_eq!(height("true // ((((((((((((((((\n"), flat);
    assert!(
        height("iffy || inner || isolated || hash")
            < height("if a then b else c || d || e || f || g")
    );
}

#[test]
fn every_policy_is_measured_by_itself() {
    let deep = policy(&shapes(MAX_HEIGHT)[2].1);
    let text = format!(
        "// first\n{}\n{deep}\n{}\n{deep}",
        policy("true"),
        policy("false")
    );
    let depth = measure(&text);
    let which: Vec<_> = depth.excess.iter().map(|excess| excess.policy).collect();
    assert_eq!(which, [1, 3], "{depth:?}");
    assert!(
        text.get(depth.excess[0].start..)
            .unwrap()
            .starts_with("permit")
    );
    assert!(depth.excess[0].message.contains("levels high"), "{depth:?}");
    assert!(depth.height < 20);
}

#[test]
fn too_many_brackets_are_found_at_the_one_too_many() {
    let text = policy(&format!(
        "{}true{}",
        "(".repeat(MAX_NESTING),
        ")".repeat(MAX_NESTING)
    ));
    let depth = measure(&text);
    assert_eq!(depth.excess.len(), 1);
    assert_eq!(text.as_bytes()[depth.excess[0].offset], b'(');
    assert!(!measure(&"(".repeat(1_000_000)).excess.is_empty());
    assert!(measure(&")".repeat(1_000_000)).excess.is_empty());
    assert_eq!(
        excess_nesting(&"Set<".repeat(1000)),
        Some(MAX_NESTING * 4 + 3)
    );
    assert_eq!(excess_nesting("\"<<<<\" // <<<<\n"), None);
}

#[test]
fn unfinished_text_ends() {
    for text in [
        "\"", "\"\\", "/", "//", "permit(", ";;;;", "@id(\"x", "é", "\"é\\é",
    ] {
        measure(text);
        excess_nesting(text);
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_measured(text in "[(){}\\[\\]!|&.<>=;,\"\\\\/\\n a-zé]{0,200}") {
        measure(&text);
        excess_nesting(&text);
    }
}
