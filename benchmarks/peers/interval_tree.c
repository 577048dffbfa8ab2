/*
 * The interval tree of workbench/mm/interval_tree.py, with nodes that point to each other: a red-black tree by
 * `start`, each node with the greatest `last` of its subtree. Same steps, same counters, same order of equal starts.
 * Whole loops are here, so that nothing of the caller is timed. benchmarks/bench_interval_tree.py compiles it.
 */
#include <stddef.h>

#define LEFT 0
#define RIGHT 1 /* the other side of `side` is !side */

struct node { /* 48 bytes, as ours, and as struct interval_tree_node of Linux */
	struct node *parent, *child[2];
	int start, last, subtree_last;
	char red;
	char kind;	/* this and the next one are not the tree's */
	int pages_left;
};

struct tree {
	struct node *root, *leftmost;
	long visited, rotations;
};

static int is_red(const struct node *n)
{
	return n && n->red;
}

static void compute_subtree_last(struct node *n)
{
	const struct node *left = n->child[LEFT], *right = n->child[RIGHT];
	int most = n->last;

	if (left && left->subtree_last > most)
		most = left->subtree_last;
	if (right && right->subtree_last > most)
		most = right->subtree_last;
	n->subtree_last = most;
}

/* Put `new`, which may be NULL, where `old` hangs. */
static void replace(struct tree *tree, struct node *old, struct node *new)
{
	struct node *parent = old->parent;

	if (!parent)
		tree->root = new;
	else
		parent->child[parent->child[LEFT] != old] = new;
	if (new)
		new->parent = parent;
}

/* Lower `old` towards `side`; its child of the other side takes its place. */
static void rotate(struct tree *tree, struct node *old, int side)
{
	struct node *new = old->child[!side], *inner = new->child[side];

	replace(tree, old, new);
	new->child[side] = old;
	old->parent = new;
	old->child[!side] = inner;
	if (inner)
		inner->parent = old;
	new->subtree_last = old->subtree_last;
	compute_subtree_last(old);
	tree->rotations++;
}

static void insert_color(struct tree *tree, struct node *n)
{
	struct node *parent, *gparent, *uncle;
	int side;

	for (;;) {
		parent = n->parent;
		if (!parent) {
			n->red = 0;
			return;
		}
		if (!parent->red)
			return;
		gparent = parent->parent;
		side = gparent->child[LEFT] != parent;
		uncle = gparent->child[!side];
		if (!is_red(uncle))
			break;
		uncle->red = parent->red = 0;
		gparent->red = 1;
		n = gparent;
	}
	if (parent->child[!side] == n) {
		rotate(tree, parent, side);
		parent = n;
	}
	parent->red = 0;
	gparent->red = 1;
	rotate(tree, gparent, !side);
}

static void erase_color(struct tree *tree, struct node *parent)
{
	struct node *n = NULL;

	for (; parent; n = parent, parent = n->parent) {
		int side = parent->child[LEFT] != n;
		struct node *sibling = parent->child[!side], *near, *far;

		if (sibling->red) {
			sibling->red = 0;
			parent->red = 1;
			rotate(tree, parent, side);
			sibling = parent->child[!side];
		}
		near = sibling->child[side];
		far = sibling->child[!side];
		if (is_red(far) || is_red(near)) {
			if (!is_red(far)) {
				rotate(tree, sibling, !side);
				far = sibling;
				sibling = near;
			}
			sibling->red = parent->red;
			parent->red = far->red = 0;
			rotate(tree, parent, side);
			return;
		}
		sibling->red = 1;
		if (parent->red) {
			parent->red = 0;
			return;
		}
	}
}

static void insert(struct tree *tree, struct node *n)
{
	struct node *parent = NULL, *here = tree->root;
	int start = n->start, last = n->last;
	int side = LEFT, leftmost = 1;
	long visited = 0;

	while (here) {
		visited++;
		parent = here;
		if (here->subtree_last < last)
			here->subtree_last = last;
		if (start < here->start) {
			side = LEFT;
			here = here->child[LEFT];
		} else {
			side = RIGHT;
			leftmost = 0;
			here = here->child[RIGHT];
		}
	}
	tree->visited += visited;
	n->parent = parent;
	n->child[LEFT] = n->child[RIGHT] = NULL;
	n->red = 1;
	n->subtree_last = last;
	if (leftmost)
		tree->leftmost = n;
	if (parent)
		parent->child[side] = n;
	else
		tree->root = n;
	insert_color(tree, n);
}

/* Look again at `subtree_last` from `n` up to below `stop`, until nothing changes; gives the nodes visited. */
static long propagate(struct node *n, struct node *stop)
{
	long visited = 0;

	for (; n != stop; n = n->parent) {
		int before = n->subtree_last;

		visited++;
		compute_subtree_last(n);
		if (n->subtree_last == before)
			break;
	}
	return visited;
}

static void erase(struct tree *tree, struct node *n)
{
	struct node *left = n->child[LEFT], *right = n->child[RIGHT];
	struct node *child, *parent, *top;
	int lost_black = !n->red;
	long visited = 1;

	if (tree->leftmost == n)
		tree->leftmost = right ? right : n->parent;
	if (!left || !right) {
		child = right ? right : left;
		parent = top = n->parent;
		replace(tree, n, child);
	} else {
		struct node *successor = right;

		visited++;
		while (successor->child[LEFT]) {
			successor = successor->child[LEFT];
			visited++;
		}
		lost_black = !successor->red;
		child = successor->child[RIGHT];
		parent = successor;
		if (successor != right) {
			parent = successor->parent;
			replace(tree, successor, child);
			successor->child[RIGHT] = right;
			right->parent = successor;
		}
		successor->child[LEFT] = left;
		left->parent = successor;
		successor->red = n->red;
		successor->subtree_last = n->subtree_last;
		replace(tree, n, successor);
		visited += propagate(parent, successor);
		top = successor;
	}
	tree->visited += visited + propagate(top, NULL);
	if (child)
		child->red = 0;
	else if (lost_black)
		erase_color(tree, parent);
}

static struct node *subtree_search(struct tree *tree, struct node *n, long start, long last, long visited)
{
	for (;;) {
		struct node *left = n->child[LEFT];

		__builtin_prefetch(n->child[RIGHT]); /* while the left child tells where to go */
		if (left && start <= left->subtree_last) {
			n = left;
			visited++;
			continue;
		}
		if (n->start > last) {
			n = NULL;
			break;
		}
		if (start <= n->last)
			break;
		n = n->child[RIGHT];
		if (!n || start > n->subtree_last) {
			n = NULL;
			break;
		}
		visited++;
	}
	tree->visited += visited;
	return n;
}

static struct node *iter_first(struct tree *tree, long start, long last)
{
	if (!tree->root)
		return NULL;
	tree->visited++;
	if (tree->root->subtree_last < start)
		return NULL;
	tree->visited++;
	if (tree->leftmost->start > last)
		return NULL;
	return subtree_search(tree, tree->root, start, last, 0);
}

static struct node *iter_next(struct tree *tree, struct node *n, long start, long last)
{
	long visited = 0;

	for (;;) {
		struct node *right = n->child[RIGHT], *came_from;

		if (right && start <= right->subtree_last)
			return subtree_search(tree, right, start, last, visited + 1);
		for (came_from = n, n = n->parent; n && n->child[RIGHT] == came_from; n = n->parent) {
			visited++;
			came_from = n;
		}
		if (n)
			visited++;
		if (!n || last < n->start)
			n = NULL;
		else if (start > n->last)
			continue;
		tree->visited += visited;
		return n;
	}
}

/* What the caller loops over. Nodes are numbered from 1 to `size`; 0 stands for NULL, and `nodes[0]` isn't used. */

size_t bytes_per_node(void)
{
	return sizeof(struct node);
}

/* So many times: empty the tree, and insert all nodes in their order, with the next `size` intervals. */
void build(struct tree *tree, struct node *nodes, long size, const long *starts, const long *lasts, long times)
{
	for (; times > 0; times--, starts += size, lasts += size) {
		tree->root = tree->leftmost = NULL;
		for (long i = 0; i < size; i++) {
			struct node *n = nodes + i + 1;

			n->start = starts[i];
			n->last = lasts[i];
			insert(tree, n);
		}
	}
}

/* Sum of the numbers of the nodes that overlap each range. */
long stab(struct tree *tree, struct node *nodes, const long *starts, const long *lasts, long queries)
{
	long sum = 0;

	for (long i = 0; i < queries; i++) {
		struct node *n = iter_first(tree, starts[i], lasts[i]);

		for (; n; n = iter_next(tree, n, starts[i], lasts[i]))
			sum += n - nodes;
	}
	return sum;
}

void count(struct tree *tree, const long *starts, const long *lasts, long queries, long *counts)
{
	for (long i = 0; i < queries; i++) {
		struct node *n = iter_first(tree, starts[i], lasts[i]);
		long found = 0;

		for (; n; n = iter_next(tree, n, starts[i], lasts[i]))
			found++;
		counts[i] = found;
	}
}

/* Take out node `moved[i]` and put it in again elsewhere, for each i. */
void move(struct tree *tree, struct node *nodes, const long *moved, const long *starts, const long *lasts, long moves)
{
	for (long i = 0; i < moves; i++) {
		struct node *n = nodes + moved[i];

		erase(tree, n);
		n->start = starts[i];
		n->last = lasts[i];
		insert(tree, n);
	}
}

/* Per node: parent, left and right as numbers, subtree_last, whether it is red. */
void shape(const struct node *nodes, long size, long *table)
{
	for (long i = 1; i <= size; i++) {
		const struct node *n = nodes + i;
		long *row = table + 5 * (i - 1);

		row[0] = n->parent ? n->parent - nodes : 0;
		row[1] = n->child[LEFT] ? n->child[LEFT] - nodes : 0;
		row[2] = n->child[RIGHT] ? n->child[RIGHT] - nodes : 0;
		row[3] = n->subtree_last;
		row[4] = n->red;
	}
}
