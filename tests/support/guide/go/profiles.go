// The functions of the migration guide that write and search vectors. A comment "guide:" says what the guide has in a line that does not compile
// with the current client.

package main

import (
	"context"

	"github.com/qdrant/go-client/qdrant"
)

func InsertProfileEmbedding(client *qdrant.Client, userID string, embedding []float32, payload map[string]interface{}) error {
	ctx := context.Background()

	_, err := client.Upsert(ctx, &qdrant.UpsertPoints{
		CollectionName: "profile_embeddings",
		Points: []*qdrant.PointStruct{
			{
				Id:      &qdrant.PointId{PointIdOptions: &qdrant.PointId_Uuid{Uuid: userID}},
				Vectors: &qdrant.Vectors{VectorsOptions: &qdrant.Vectors_Vector{Vector: &qdrant.Vector{Data: embedding}}},
				Payload: qdrant.NewValueMap(payload), // guide: payload
			},
		},
	})

	return err
}

func SearchSimilarProfiles(client *qdrant.Client, queryVector []float32, filters map[string]interface{}, limit uint64) ([]*qdrant.ScoredPoint, error) {
	ctx := context.Background()

	// Build filter conditions
	filter := &qdrant.Filter{
		Must: []*qdrant.Condition{
			{
				ConditionOneOf: &qdrant.Condition_Field{
					Field: &qdrant.FieldCondition{
						Key:   "active",
						Match: &qdrant.Match{MatchValue: &qdrant.Match_Boolean{Boolean: true}},
					},
				},
			},
			{
				ConditionOneOf: &qdrant.Condition_Field{
					Field: &qdrant.FieldCondition{
						Key:   "verified",
						Match: &qdrant.Match{MatchValue: &qdrant.Match_Boolean{Boolean: true}},
					},
				},
			},
		},
	}

	// Add gender filter if specified
	if gender, ok := filters["gender"].(string); ok {
		filter.Must = append(filter.Must, &qdrant.Condition{
			ConditionOneOf: &qdrant.Condition_Field{
				Field: &qdrant.FieldCondition{
					Key:   "gender",
					Match: &qdrant.Match{MatchValue: &qdrant.Match_Keyword{Keyword: gender}},
				},
			},
		})
	}

	result, err := client.GetPointsClient().Search(ctx, &qdrant.SearchPoints{ // guide: client.Search
		CollectionName: "profile_embeddings",
		Vector:         queryVector,
		Filter:         filter,
		Limit:          limit,
		WithPayload:    &qdrant.WithPayloadSelector{SelectorOptions: &qdrant.WithPayloadSelector_Enable{Enable: true}},
	})

	if err != nil {
		return nil, err
	}

	return result.GetResult(), nil // guide: result
}
