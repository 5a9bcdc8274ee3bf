# honest: the responder does not look whose static key it is
s/known = ASSERT(claimed, peer)?/known = HASH(claimed)/
