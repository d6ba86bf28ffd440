// Single words of gradients, in the parameters' binding: for gradients in the parameters' buffer
// whose elements have another size.

alias GradWord = u32;

fn grad_word(at: u32) -> u32 {
    return param[at];
}

fn set_grad_word(at: u32, word: u32) {
    param[at] = word;
}
