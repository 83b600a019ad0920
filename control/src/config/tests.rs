//! The configuration loader as a whole.

use super::parse;

#[test]
fn reads_the_smallest_file() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[[routes]]\nupstream = \"a\"\n[upstreams.a]\nendpoints = [\"127.0.0.1:1\"]\n";
    let config = parse("t.toml", text).unwrap();
    assert_eq!(&*config.routes[0].name, "a");
}
