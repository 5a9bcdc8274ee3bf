//! The examples people copy from the documentation are right.

use kerntun_config::Parser;

#[test]
fn examples_are_right() {
    let Ok(page) = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")) else {
        println!("SKIPPED: the documentation is not part of this package");
        return;
    };
    let examples: Vec<&str> = page.split("```ini\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let parsed = Parser::new("configuration.md").parse(example.as_bytes());
        assert!(parsed.diagnostics.is_empty(), "{}", parsed.diagnostics[0]);
        assert_eq!(parsed.config.unwrap().peers.len(), 1);
    }
}
