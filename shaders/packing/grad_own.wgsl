// Single words of gradients, in a binding of their own.

alias GradWord = u32;

fn grad_word(at: u32) -> u32 {
    return grad[at];
}

fn set_grad_word(at: u32, word: u32) {
    grad[at] = word;
}
