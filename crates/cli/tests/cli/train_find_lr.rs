//! `fallline train --find-lr`, as a user runs it.

use std::fs;

use crate::common::{fallline, scratch};

#[test]
fn the_loss_falls_at_rates_that_are_neither_small_nor_large() {
    let (svg, csv) = (scratch("lr.svg"), scratch("lr.csv"));
    let files = ["-o", svg.to_str().unwrap(), "--csv", csv.to_str().unwrap()];
    let ran = fallline(&[&["train", "--find-lr", "--hidden", "16"], &files[..]].concat()).good();
    let found = ran.out.split("falls fastest at --lr ").nth(1).unwrap();
    let lr: f64 = found.split(' ').next().unwrap().parse().unwrap();
    assert!((1e-4..1.0).contains(&lr), "{}", ran.out);
    assert!(fs::read_to_string(svg).unwrap().contains("learning rate"));
    let csv = fs::read_to_string(csv).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!((rows[0], rows[1].split(',').next()), ("lr,loss,smoothed", Some("1e-7")));
    // It ended when the loss had grown, or with the last of a hundred.
    assert!((50..=101).contains(&rows.len()), "{csv}");
}

#[test]
fn a_fixed_rate_is_not_to_be_found() {
    let rprop = ["train", "--find-lr", "--rule", "rprop"];
    fallline(&rprop).refuses("the learning rate of rprop is fixed");
}
