// Many short-lived trees: the allocator and calls (the Computer Language Benchmarks Game's binary-trees).
#include "bench.h"

struct node {
    struct node *left, *right;
};

static struct node *build(int depth) {
    struct node *node = allocate(sizeof *node);
    node->left = depth > 0 ? build(depth - 1) : NULL;
    node->right = depth > 0 ? build(depth - 1) : NULL;
    return node;
}

static int count(const struct node *node) {
    return node->left ? 1 + count(node->left) + count(node->right) : 1;
}

static void discard(struct node *node) {
    if (node->left) {
        discard(node->left);
        discard(node->right);
    }
    free(node);
}

int main(int argc, char **argv) {
    int deepest = amount(argc, argv);
    struct node *lasting = build(deepest);
    for (int depth = 4; depth <= deepest; depth += 4) {
        int trees = 1 << (deepest - depth + 4), nodes = 0;
        for (int i = 0; i < trees; i++) {
            struct node *tree = build(depth);
            nodes += count(tree);
            discard(tree);
        }
        sum_u64((uint64_t)nodes);
    }
    sum_u64((uint64_t)count(lasting));
    discard(lasting);
    return print_sum();
}
