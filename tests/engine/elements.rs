//! Where rules of elements differ from torch's on purpose, and what is particular to one of them.

use fallline::{Adagrad, Group, Optimizer, Step, TensorId, TensorSpec};

use crate::common::{gpu, write_grads};

#[test]
fn adagrads_sum_begins_as_its_group_says_and_only_then() {
    let groups = [0.5, 2.0].map(|initial| {
        let rule = Adagrad::new().initial_accumulator_value(initial);
        Group::new(initial.to_string(), rule)
    });
    let of = |group: &Group| TensorSpec::new(&group.name, [5]).in_group(&group.name);
    let tensors: Vec<_> = groups.iter().map(of).collect();
    let mut optimizer = Optimizer::arena(&gpu(), &groups, &tensors).unwrap();
    write_grads(&optimizer, &[vec![1.0; 5], vec![1.0; 5]]);
    for taken in [1.0, 2.0] {
        optimizer.step(&Step::new()).unwrap();
        for (index, initial) in [(0, 0.5), (1, 2.0)] {
            let sum = optimizer.read_state(TensorId::new(index), "sum").unwrap();
            assert_eq!(sum, [initial + taken; 5]);
        }
    }
}
